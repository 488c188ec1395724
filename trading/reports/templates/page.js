// Shows the line about hidden columns above each table that is wider than its card.
function showHidden() {
  for (const table of document.querySelectorAll(".wide")) {
    table.previousElementSibling.classList.toggle("shown", table.scrollWidth > table.clientWidth + 1);
  }
}
showHidden();
addEventListener("resize", showHidden);
document.addEventListener("toggle", showHidden, true);
