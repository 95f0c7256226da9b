// The search of the gallery's index: every word has to be in a recipe's title, text or claims.
const texts = JSON.parse(document.getElementById("texts").textContent);
const form = document.querySelector("form"), box = document.getElementById("search");
const status = form.querySelector("[role=status]"), cards = [...document.querySelectorAll("[data-name]")];

function passage(text, word) {
  const place = text.toLowerCase().indexOf(word), from = Math.max(0, place - 50), to = place + word.length;
  const mark = document.createElement("mark");
  mark.textContent = text.slice(place, to);
  return [(from ? "… " : "") + text.slice(from, place), mark, text.slice(to, to + 70) + " …"];
}

function search() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let number = 0;
  for (const card of cards) {
    const text = texts[card.dataset.name], lower = text.toLowerCase(), found = card.querySelector(".found");
    card.hidden = !words.every((word) => lower.includes(word));
    number += !card.hidden;
    const title = card.querySelector(".title").textContent.toLowerCase(), hidden = words.find((word) => !title.includes(word));
    found.hidden = card.hidden || !hidden;
    found.replaceChildren(...(found.hidden ? [] : passage(text, hidden)));
  }
  for (const topic of document.querySelectorAll(".topic")) {
    topic.hidden = !topic.querySelector("[data-name]:not([hidden])");
    document.querySelector(`nav a[href="#${topic.id}"]`).hidden = topic.hidden;
  }
  status.textContent = words.length ? `${number} of ${cards.length} recipes` : "";
}

form.hidden = false;
form.addEventListener("submit", (event) => event.preventDefault());
box.addEventListener("input", search);
addEventListener("pageshow", search);
