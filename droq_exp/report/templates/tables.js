// Tables that sort by their headers, the filter of the runs, and links that open a closed configuration.
(() => {
  const absent = (text) => text === "" || text === "-";
  // The leading number of "1,234 [1,100, 1,400]", "12.5 %" or "-3e-4"; NaN where there is none.
  const leading = (text) => parseFloat(text.replace(/(\d),(?=\d{3})/g, "$1").replace(/^\u2212/, "-"));

  function comparison(keys) {
    const present = keys.filter((key) => !absent(key));
    if (present.every((key) => !Number.isNaN(leading(key)))) return (a, b) => leading(a) - leading(b);
    return new Intl.Collator("en", { numeric: true }).compare;
  }
  function sort(table, header) {
    const descending = header.getAttribute("aria-sort") === "ascending";
    const rows = [...table.tBodies[0].rows];
    const key = new Map(rows.map((row) => [row, row.cells[header.cellIndex].textContent.trim()]));
    const compare = comparison([...key.values()]);
    rows.sort((a, b) => {
      const [left, right] = [key.get(a), key.get(b)];
      if (absent(left) || absent(right)) return absent(left) - absent(right);
      return descending ? compare(right, left) : compare(left, right);
    });
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) sort(table, button.parentElement);
    });
  }

  const filter = document.getElementById("run-filter");
  const rows = [...document.getElementById("run-table").tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase()]);
  const configs = [...document.querySelectorAll(".config")].map((each) => [each, each.dataset.search.toLowerCase()]);
  function show(entries, words) {
    let shown = 0;
    for (const [element, text] of entries) {
      element.hidden = !words.every((word) => text.includes(word));
      shown += !element.hidden;
    }
    return shown;
  }
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    document.getElementById("run-count").value = `${show(rows, words)} of ${rows.length} runs`;
    show(configs, words);
  });

  function openTarget() {
    const target = location.hash.startsWith("#config-") && document.getElementById(location.hash.slice(1));
    if (!target) return;
    target.hidden = false;
    target.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", openTarget);
  openTarget();
})();
