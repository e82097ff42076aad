"use strict";
// Shows one document at a time, and lights the place of a value that is clicked.
const sections = [...document.querySelectorAll(".document")];
const chips = [...document.querySelectorAll("[data-document]")];

function show(id) {
  for (const section of sections) section.hidden = section.id !== id;
  for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.dataset.document === id));
}

function light(button) {
  const section = button.closest(".document"), pane = section.querySelector(".text");
  const place = button.dataset.place;
  for (const each of section.querySelectorAll("[aria-current]")) each.removeAttribute("aria-current");
  for (const each of section.querySelectorAll(`[data-place="${place}"]`)) each.setAttribute("aria-current", "true");
  for (const each of section.querySelectorAll("mark.lit")) each.classList.remove("lit");
  const marks = [...section.querySelectorAll(`mark[data-places~="${place}"]`)];
  for (const mark of marks) mark.classList.add("lit");
  if (pane.getBoundingClientRect().top < -1) pane.parentElement.scrollIntoView();
  pane.scrollTop += marks[0].getBoundingClientRect().top - pane.getBoundingClientRect().top - pane.clientHeight / 3;
}

document.addEventListener("click", event => {
  const chip = event.target.closest("[data-document]"), value = event.target.closest("[data-place]");
  if (chip) show(chip.dataset.document);
  if (value) light(value);
});
if (sections.length) show(sections.some(section => `#${section.id}` === location.hash) ? location.hash.slice(1) : sections[0].id);
