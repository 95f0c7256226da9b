"""Tokenizers: exact round trips, streaming that equals decoding, builders that do not depend on where pieces end."""

from __future__ import annotations

import doctest
import itertools
import json
import re
import sys

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from carousel.data import bpe, builders, tokenizers
from carousel.data.builders import BpeBuilder, ByteBuilder, CharBuilder, WordBuilder
from carousel.data.tokenizers import (
    UNKNOWN,
    BpeTokenizer,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    WordTokenizer,
    tokenizer_from_dict,
)
from carousel.errors import DataError, UsageError

WORDY = st.text(st.sampled_from([*"ab1é", "ि", *" \n\t.,:;!?'’\"-()[]<>/|$%_€"]), max_size=40)
ANY_CHARACTER = st.text(st.characters(codec=None, exclude_categories=[]), max_size=30)


def word_tokenizer(text: str, split: str = "words") -> WordTokenizer:
    words = dict.fromkeys([UNKNOWN, *tokenizers.SPLITS[split].findall(text)])
    return WordTokenizer(tuple(words), split)


def words_of(text: str, split: str = "words") -> list[str]:
    tokenizer = word_tokenizer(text, split)
    return [tokenizer.words[i] for i in tokenizer.encode(text)]


def streamed(tokenizer: Tokenizer, ids: list[int]) -> str:
    stream = tokenizer.stream_decoder()
    return "".join([*map(stream.feed, ids), stream.finish()])


def test_examples_in_docstrings():
    result = doctest.testmod(tokenizers)
    assert result.attempted >= 8
    assert result.failed == 0


@pytest.mark.parametrize(
    ("tokenizer", "level", "unit", "size"),
    [
        (CharTokenizer("ab"), "char", "character", 2),
        (ByteTokenizer(), "byte", "byte", 256),
        (WordTokenizer((UNKNOWN, "a", "b")), "word", "word", 3),
        (BpeTokenizer(((97, 98), (256, 98))), "bpe", "token", 258),
    ],
)
def test_level_unit_and_size(tokenizer, level, unit, size):
    assert (tokenizer.level, tokenizer.unit, tokenizer.size) == (level, unit, size)
    assert tokenizers.LEVELS[level] is type(tokenizer)
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.encode("").dtype == tokenizer.encode("ab").dtype == np.int64
    assert tokenizer.decode([]) == ""


class TestChar:
    @given(ANY_CHARACTER)
    def test_round_trip(self, text):
        tokenizer = CharTokenizer("".join(dict.fromkeys(text)))
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == streamed(tokenizer, ids.tolist()) == text
        assert tokenizer.unknown(text) == []

    def test_unknown_characters_are_named(self):
        tokenizer = CharTokenizer("abc")
        assert tokenizer.unknown("aéb\nécé") == ["é", "\n"]
        with pytest.raises(DataError, match=re.escape(r"2 characters outside the vocabulary: 'é', '\n'.")) as caught:
            tokenizer.encode("aéb\nécé")
        assert "these 3: 'abc'" in str(caught.value)

    def test_many_unknown_characters_are_counted(self):
        with pytest.raises(DataError, match=r"26 characters .*'j' and 16 more"):
            CharTokenizer("0").encode("abcdefghijklmnopqrstuvwxyz")

    @pytest.mark.parametrize("wrong", [[0, 3], [-1], [1, 99]])
    def test_ids_outside_the_vocabulary_are_refused(self, wrong):
        with pytest.raises(DataError, match=rf"Id {wrong[-1]} stands for no character.*ids 0 to 2"):
            CharTokenizer("abc").decode(wrong)

    def test_repeated_symbols_are_refused(self):
        with pytest.raises(DataError, match="once"):
            CharTokenizer("aba")


BPE = BpeBuilder.learn([["a rosé is a rosé is ", "a rosé, don't"] * 3, ["日本日本 " * 9]], 290).tokenizer()


class TestBpe:
    def test_merges_of_the_most_frequent_pairs(self):
        """By hand: ab comes 5 times, and abc 4 of these."""
        merges = bpe.learn(["abc abc abc abc zab"], 300)
        assert bpe.tokens_of(merges)[256:] == [b"ab", b"abc", b" abc"]
        assert merges == ((97, 98), (256, 99), (32, 257))

    def test_learning_stops_at_the_size(self):
        assert len(bpe.learn(["abc abc abc abc zab"], 257)) == 1

    def test_two_pairs_that_spell_the_same_have_one_id(self):
        assert bpe.tokens_of(((97, 97), (256, 97), (97, 256), (257, 97)))[256:] == [b"aa", b"aaa", b"aaaa"]

    @given(st.one_of(WORDY, st.text(max_size=30), st.text(st.sampled_from("a rosé日本\n"), max_size=30)))
    def test_round_trip(self, text):
        ids = BPE.encode(text)
        assert BPE.decode(ids) == streamed(BPE, ids.tolist()) == text
        assert b"".join(BPE.tokens[i] for i in ids) == text.encode()
        assert BPE.lengths[ids].sum(0).tolist() == [len(text), len(text.encode())]
        assert BPE.unknown(text) == []

    @given(st.lists(st.integers(0, BPE.size - 1), max_size=20))
    def test_any_ids_decode_to_whole_characters(self, ids):
        text = b"".join(BPE.tokens[i] for i in ids).decode("utf-8", "replace")
        shown = BPE.decode(ids)
        assert shown == streamed(BPE, ids)
        assert text in (shown, shown + "\ufffd")

    def test_an_unfinished_character_at_the_end_is_left_out(self):
        assert BPE.decode([97, 0xE6, 0x97]) == "a"
        assert BPE.decode([97, 0xE6, 97]) == "a\ufffda"

    def test_a_lone_surrogate_becomes_the_replacement_character(self):
        assert BPE.decode(BPE.encode("a\udc80b")) == "a\ufffdb"

    @given(st.text(st.sampled_from("a é.\n\t\u3000\x1c!'s1"), max_size=60), st.lists(st.integers(0, 60), max_size=6))
    def test_borders_of_pieces_are_not_seen(self, text, cuts):
        borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
        pieces = [text[a:b] for a, b in itertools.pairwise(borders)]
        builder = BpeBuilder(BPE)
        ids = [i for k, piece in enumerate(pieces) for i in builder.feed(piece, final=k == len(pieces) - 1).tolist()]
        assert ids == BPE.encode(text).tolist()
        assert builder.distinct == len(set(ids))
        assert "".join(bpe.whole_words(pieces)) == text

    def test_a_text_without_borders_is_cut_somewhere(self, monkeypatch):
        monkeypatch.setattr(bpe, "_LONGEST", 10)
        assert [*bpe.whole_words(["a" * 8, "a" * 8, "a" * 3])] == ["a" * 16, "a" * 3]

    @pytest.mark.parametrize("merges", [[[256, 97]], [[-1, 97]], [[97, 97], [97, 258]]])
    def test_merges_of_ids_that_are_not_there_are_refused(self, merges):
        with pytest.raises(DataError, match="no merges of byte pairs"):
            tokenizer_from_dict({"level": "bpe", "merges": merges})

    def test_ids_outside_the_vocabulary_are_refused(self):
        with pytest.raises(DataError, match=f"Id {BPE.size} stands for no token"):
            BPE.decode([BPE.size])


class TestByte:
    @given(st.text(max_size=30))
    def test_round_trip(self, text):
        tokenizer = ByteTokenizer()
        assert tokenizer.encode(text).tolist() == list(text.encode())
        assert tokenizer.decode(tokenizer.encode(text)) == text

    @given(st.binary(max_size=30))
    def test_a_stream_of_any_bytes_equals_decoding_them(self, data):
        assert streamed(ByteTokenizer(), list(data)) == data.decode("utf-8", "replace")

    def test_a_stream_holds_back_half_a_character(self):
        stream = ByteTokenizer().stream_decoder()
        assert [stream.feed(byte) for byte in "a€b".encode()] == ["a", "", "", "€", "b"]
        assert stream.feed(0xE2) == ""
        assert stream.finish() == "\ufffd"

    def test_ids_outside_the_vocabulary_are_refused(self):
        with pytest.raises(DataError, match="Id 256 stands for no byte"):
            ByteTokenizer().decode([256])
        with pytest.raises(DataError, match="Id -1 stands for no byte"):
            ByteTokenizer().stream_decoder().feed(-1)

    def test_nothing_is_unknown(self):
        assert ByteTokenizer().unknown("日本\0") == []

    def test_lone_surrogates_do_not_fail(self):
        assert ByteTokenizer().encode("\ud800").tolist() == [0xED, 0xA0, 0x80]


class TestWord:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("Don't stop, please!", ["Don't", "stop", ",", "please", "!"]),
            ("well-known -- really", ["well-known", "--", "really"]),
            ("word--word", ["word", "--", "word"]),
            ("'tis the dogs' bone", ["'", "tis", "the", "dogs", "'", "bone"]),
            ("1,000.5 at 10:30, v2.", ["1,000.5", "at", "10:30", ",", "v2", "."]),
            ("wait... <unk> </s> <|end|>", ["wait", "...", "<unk>", "</s>", "<|end|>"]),
            ("a < b > c", ["a", "<", "b", ">", "c"]),
            ("one \t two\r\n\n three", ["one", "two", "\n", "\n", "three"]),
            ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
            ("cafe\u0301 na\u00efve l’été", ["cafe\u0301", "na\u00efve", "l’été"]),
            ("$5 (50%)", ["$", "5", "(", "50", "%", ")"]),
            ("snake_case x2", ["snake_case", "x2"]),
        ],
    )
    def test_words(self, text, words):
        assert words_of(text) == words

    def test_split_at_spaces_only(self):
        assert words_of(" the cat 's <unk> , \n don't. \n", "spaces") == [
            *("the", "cat", "'s", "<unk>", ",", "\n", "don't.", "\n"),
        ]

    @pytest.mark.parametrize(
        "text",
        [
            'He said: "Stop (now), or [else]!" Then "go"... and so on; well?\nNew line, "open\nNext "one".',
            "I don't know {x}; it's 50% -- or $5.",
            "«Oui», “so” ‘it’ goes… ¿qué? ¡sí!",
            "('quoted', 'twice')",
            "\n\nTwo\n\nlines\n",
        ],
    )
    def test_detokenized_as_people_write(self, text):
        tokenizer = word_tokenizer(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text

    def test_detokenized_at_spaces(self):
        tokenizer = word_tokenizer("a , b \n c", "spaces")
        assert tokenizer.decode(tokenizer.encode("a , b \n c")) == "a , b\nc"

    @given(WORDY, st.sampled_from(["words", "spaces"]))
    @example(". .. ... ' ' \" ' \" - -- $ 5 1 , 5", "words")
    def test_decoding_loses_no_word(self, text, split):
        tokenizer = word_tokenizer(text, split)
        ids = tokenizer.encode(text)
        decoded = tokenizer.decode(ids)
        assert tokenizer.encode(decoded).tolist() == ids.tolist()
        assert streamed(tokenizer, ids.tolist()) == decoded

    @given(WORDY)
    def test_only_white_space_is_lost(self, text):
        assert "".join(words_of(text)).replace("\n", "") == "".join(text.split())

    def test_unknown_words_become_unk(self):
        tokenizer = WordTokenizer(("a", UNKNOWN, "b"))
        assert tokenizer.encode("b c a d c").tolist() == [2, 1, 0, 1, 1]
        assert tokenizer.unknown("b c a d c") == ["c", "d"]

    def test_a_stream_continues_a_prompt(self):
        tokenizer = word_tokenizer("One, two (three)")
        stream = tokenizer.stream_decoder()
        pieces = [stream.feed(i) for i in tokenizer.encode("One, two (three)")]
        assert pieces == ["One", ",", " two", " (", "three", ")"]

    def test_ids_outside_the_vocabulary_are_refused(self):
        with pytest.raises(DataError, match="Id -1 stands for no word"):
            WordTokenizer((UNKNOWN,)).stream_decoder().feed(-1)

    @pytest.mark.parametrize(
        ("words", "split", "message"),
        [
            (("a",), "words", "must hold <unk>"),
            ((UNKNOWN, "a", "a"), "words", "each word once"),
            ((UNKNOWN, ""), "words", "no empty word"),
            ((UNKNOWN,), "lines", "'lines'"),
        ],
    )
    def test_impossible_vocabularies_are_refused(self, words, split, message):
        with pytest.raises(DataError, match=message):
            WordTokenizer(words, split)


class TestDict:
    @given(ANY_CHARACTER)
    def test_char_round_trip_through_json_and_yaml(self, text):
        tokenizer = CharTokenizer("".join(dict.fromkeys(text)))
        assert tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict()))) == tokenizer
        assert tokenizer_from_dict(yaml.safe_load(yaml.safe_dump(tokenizer.to_dict()))) == tokenizer

    @given(st.text(max_size=30), st.sampled_from(["words", "spaces"]))
    def test_word_round_trip_through_json_and_yaml(self, text, split):
        tokenizer = word_tokenizer(text + " no 1.0 ~ \n", split)
        assert tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict()))) == tokenizer
        assert tokenizer_from_dict(yaml.safe_load(yaml.safe_dump(tokenizer.to_dict()))) == tokenizer

    def test_byte_round_trip(self):
        assert tokenizer_from_dict(ByteTokenizer().to_dict()) == ByteTokenizer()

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"level": "line"},
            {"level": "char"},
            {"level": "char", "symbols": 3},
            {"level": "word", "words": ["a", 1]},
        ],
    )
    def test_other_data_is_refused(self, data):
        with pytest.raises(DataError, match="This is no tokenizer"):
            tokenizer_from_dict(data)


def fed(builder, pieces: list[str]) -> list[int]:
    return [i for n, piece in enumerate(pieces, 1) for i in builder.feed(piece, final=n == len(pieces)).tolist()]


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted(place % (len(text) + 1) for place in places)
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


PLACES = st.lists(st.integers(0, 1000), max_size=6)


class TestBuilders:
    @given(ANY_CHARACTER, PLACES)
    def test_characters_get_ids_in_order_of_appearance(self, text, places):
        builder = CharBuilder()
        ids = fed(builder, cut(text, places))
        tokenizer = builder.tokenizer()
        assert tokenizer.symbols == "".join(dict.fromkeys(text))
        assert ids == tokenizer.encode(text).tolist()
        assert builder.size == builder.distinct == tokenizer.size

    @given(st.text(max_size=30), PLACES)
    def test_bytes(self, text, places):
        builder = ByteBuilder()
        assert fed(builder, cut(text, places)) == list(text.encode())
        assert builder.distinct == len(set(text.encode()))
        assert builder.size == 256

    @given(WORDY, PLACES, st.sampled_from(["words", "spaces"]))
    def test_no_word_is_cut_between_pieces(self, text, places, split):
        builder = WordBuilder(split)
        words = tokenizers.SPLITS[split].findall(text)
        order = list(dict.fromkeys(words))
        assert fed(builder, cut(text, places)) == [order.index(word) for word in words]
        assert builder.size == builder.distinct == len(order)

    def test_a_word_without_end_is_cut(self, monkeypatch):
        monkeypatch.setattr(builders, "LONGEST_WORD", 5)
        builder = WordBuilder()
        assert [builder.feed("aaaa").tolist() for _ in range(3)] == [[], [0], []]
        assert builder.feed("", final=True).tolist() == [1]

    def test_the_most_frequent_words_are_chosen(self):
        builder = WordBuilder()
        builder.feed("rare b b a a <unk> <unk> <unk> c c c late", final=True)
        counts = np.array([1, 2, 2, 3, 3, 0])
        tokenizer, table = builder.choose(counts, None, 1)
        assert tokenizer.words == (UNKNOWN, "c", "b", "a", "rare")
        assert table.tolist() == [4, 2, 3, 0, 1, 0]
        assert builder.choose(counts, 3, 1)[0].words == (UNKNOWN, "c", "b")
        assert builder.choose(counts, None, 2)[0].words == (UNKNOWN, "c", "b", "a")


def test_byte_pairs_without_the_library_are_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match="carousel-nn\\[text\\]"):
        bpe.learn(["a rose is a rose"], 300)
