"use strict";
// Draws charts when they come into view, sorts and filters leaderboards, and shows verdicts and chosen configurations.
// Whatever a user named is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const views = new Map(); // the Vega view in each chart's element
  const unpacked = new Map();

  const all = (query, within = document) => [...within.querySelectorAll(query)];
  const shown = (element) => element.getClientRects().length > 0;
  const number = (value, decimals) => (value === null ? "–" : value.toFixed(decimals).replace("-", "−"));

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  // Data sets come column by column, with texts that repeat as numbers; rows are made when a chart asks for them.
  function rowsOf(key) {
    if (!unpacked.has(key)) {
      const columns = Object.entries(data.pool[key]).map(([name, column]) =>
        Array.isArray(column) ? [name, column] : [name, column.at.map((place) => column.of[place])]);
      const count = columns.length ? columns[0][1].length : 0;
      unpacked.set(key, Array.from({ length: count }, (_, i) => Object.fromEntries(columns.map(([name, of]) => [name, of[i]]))));
    }
    return unpacked.get(key);
  }

  // ---- charts
  function signalsOf(figure) {
    return all("[data-parameter]", figure).map((select) => [select.dataset.parameter, select.value]);
  }

  async function draw(element) {
    const figure = element.closest("figure");
    const key = element.dataset.chart;
    if (element.dataset.drawn === key) return;
    element.dataset.drawn = key;
    const { pools, ...spec } = structuredClone(data.charts[key]);
    spec.datasets = Object.fromEntries(pools.map((pool) => [pool, structuredClone(rowsOf(pool))]));
    for (const [name, value] of signalsOf(figure)) {
      for (const parameter of spec.params || []) if (parameter.name === name) parameter.value = value;
    }
    views.get(element)?.finalize();
    const result = await window.vegaEmbed(element, spec, {
      renderer: "svg",
      config: data.config,
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: key,
    });
    if (element.dataset.drawn !== key) return; // the reader has gone on
    views.set(element, result.view);
    element.classList.add("drawn");
    const choosing = all('[data-parameter="chosen"]', figure)[0];
    if (choosing) {
      result.view.addEventListener("click", (_, item) => {
        const config = item && item.datum && item.datum.config;
        if (config && choosing.value !== config) {
          choosing.value = config;
          choosing.dispatchEvent(new Event("change"));
        }
      });
    }
  }

  async function set(figure) {
    const element = figure.querySelector(".chart");
    const view = views.get(element);
    if (!view) return;
    const known = new Set(Object.keys(view.getState({ signals: () => true, data: () => false, recurse: false }).signals));
    for (const [name, value] of signalsOf(figure)) if (known.has(name)) view.signal(name, value);
    await view.runAsync();
  }

  function narrow(figure) {
    // A control whose values depend on the one before it offers those alone.
    const selects = all("[data-parameter]", figure);
    selects.forEach((select, place) => {
      if (!select.dataset.within) return;
      const fit = JSON.parse(select.dataset.within)[selects[place - 1].value] || [];
      for (const option of select.options) option.hidden = option.disabled = !fit.includes(option.value);
      if (!fit.includes(select.value)) select.value = fit[0];
    });
  }

  const coming = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, { rootMargin: "300px" });

  for (const figure of all("figure[data-figure]")) {
    const chart = figure.querySelector(".chart");
    narrow(figure);
    coming.observe(chart);
    all(".view", figure).forEach((select) => select.addEventListener("change", () => {
      chart.dataset.chart = select.value;
      draw(chart);
    }));
    all("[data-parameter]", figure).forEach((select) => select.addEventListener("change", () => {
      narrow(figure);
      set(figure);
      if (select.dataset.parameter === "chosen") detail(figure);
    }));
  }

  // What is not in view yet is drawn when there is time, so that a print holds it.
  async function rest() {
    for (const chart of all(".chart")) {
      if (shown(chart)) await draw(chart);
      await new Promise((go) => setTimeout(go, 0));
    }
    document.documentElement.dataset.ready = "yes";
  }
  const later = window.requestIdleCallback || ((go) => setTimeout(go, 200));

  // ---- which table
  function show(place) {
    all(".chapter").forEach((chapter, at) => { chapter.hidden = at !== place; });
    delete document.documentElement.dataset.ready;
    later(rest);
  }
  all('input[name="table"]').forEach((input) => input.addEventListener("change", () => show(Number(input.value))));
  const checked = document.querySelector('input[name="table"]:checked');
  show(checked ? Number(checked.value) : 0);

  // ---- leaderboards
  const falling = new Set(["tau", "macs", "accuracy", "top5", "n"]); // where more is better, the best comes first
  for (const board of all(".leaderboard")) {
    const table = board.querySelector("table");
    const body = table.tBodies[0];
    const rows = [...body.rows];

    function sort(key, order) {
      const value = (row) => {
        const text = row.dataset[key];
        return key === "label" ? text : text === "" ? null : Number(text);
      };
      const sign = order === "descending" ? -1 : 1;
      rows.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null); // what is not known comes last
        return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
      });
      body.append(...rows);
      all("th[aria-sort]", table).forEach((head) => head.removeAttribute("aria-sort"));
      all("thead th", table).find((head) => head.dataset.key === key).setAttribute("aria-sort", order);
      board.querySelector(".sort").value = key;
    }
    const natural = (key) => (falling.has(key) ? "descending" : "ascending");
    all("thead th[data-key]", table).forEach((head) => head.querySelector("button").addEventListener("click", () => {
      const key = head.dataset.key;
      const now = head.getAttribute("aria-sort");
      sort(key, now ? (now === "descending" ? "ascending" : "descending") : natural(key));
    }));
    const sorter = board.querySelector(".sort");
    sorter.addEventListener("change", () => sort(sorter.value, natural(sorter.value)));

    const find = board.querySelector(".find");
    const absent = board.querySelector(".absent");
    function filter() {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of all("tbody tr", table)) {
        const text = row.textContent.toLowerCase();
        const left = row.parentElement.classList.contains("not-run") && absent && !absent.checked;
        row.hidden = left || !words.every((word) => text.includes(word));
        row.style.display = row.hidden ? "none" : "";
      }
    }
    find.addEventListener("input", filter);
    if (absent) {
      absent.checked = !matchMedia("(max-width: 900px)").matches; // on a phone they are a screen after the other
      absent.addEventListener("change", filter);
      filter();
    }

    const told = board.querySelector(".verdict");
    const verdicts = data.verdicts[board.closest(".chapter").dataset.table];
    let chosen = [];
    all(".choose input", table).forEach((box) => box.addEventListener("change", () => {
      const row = box.closest("tr");
      chosen = chosen.filter((one) => one !== row);
      if (box.checked) chosen.push(row);
      while (chosen.length > 2) chosen.shift().querySelector("input").checked = false;
      rows.forEach((one) => one.classList.toggle("chosen", chosen.includes(one)));
      if (chosen.length < 2) {
        told.textContent = chosen.length ? `${chosen[0].dataset.label} and …? Choose another row.` : "Choose two rows to see which of them is better.";
        return;
      }
      const [a, b] = chosen.map((one) => one.dataset.label);
      const places = [a, b].map((name) => verdicts.names.indexOf(name));
      const found = verdicts.rows.find(([one, other]) => places.includes(one) && places.includes(other));
      if (!found) { told.textContent = `${a} and ${b} cannot be told apart here: they rank alike.`; return; }
      const [one, other] = [verdicts.names[found[0]], verdicts.names[found[1]]];
      const [difference, low, high, word, adjusted] = found.slice(2);
      const says = (it) => ({ better: `${one} is better than ${other}`, worse: `${other} is better than ${one}`, unresolved: `Between ${one} and ${other} it is unresolved` }[it]);
      const many = `adjusted for all ${verdicts.rows.length} verdicts (Holm)`;
      const alone = word === adjusted ? `, ${word === "unresolved" ? "on its own and" : "also"} ${many}` : `, ${many}; on its own, at 95 %, ${says(word)}`;
      told.replaceChildren(make("strong", {}, says(adjusted)),
        `${alone}: tau of ${one} − tau of ${other} = ${number(difference, 3)}, 95 % from ${number(low, 3)} to ${number(high, 3)}, over configurations, seeds of the table and seeds of both, drawn together.`);
    }));
  }

  // ---- the chosen configuration
  function detail(figure) {
    const chapter = figure.closest(".chapter");
    const panel = figure.nextElementSibling;
    const table = data.tables[chapter.dataset.table];
    const wanted = figure.querySelector('[data-parameter="chosen"]').value;
    const place = table.configurations.findIndex((one) => one.config === wanted);
    const one = table.configurations[place];
    const names = (places) => places.map((at) => table.configurations[at].config).join(" ") || "none";
    const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    drawing.setAttribute("class", "network");
    drawing.setAttribute("width", one.width * 22);
    drawing.setAttribute("height", 75);
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", `layers by resolution: ${one.config}`);
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#${one.symbol}`);
    drawing.append(use);
    const facts = make("dl");
    const fact = (name, ...value) => facts.append(make("dt", {}, name), make("dd", {}, ...value));
    fact("accuracy", `${number(one.mean, 2)} %${one.std === null ? "" : ` ± ${number(one.std, 2)}`}, ${one.n} seed${one.n === 1 ? "" : "s"}`);
    fact("rank", `${one.rank} of ${table.configurations.length}`);
    if (one.megamacs !== null) fact("MACs of one image", `${number(one.megamacs, 1)} million`);
    fact("layers", one.layers.map((count, r) => `${count} at ${table.sizes[r]}×${table.sizes[r]}`).join(", "));
    if (one.worse === null) {
      fact("told apart from", "not known: no configuration has two seeds");
    } else {
      const better = table.configurations.flatMap((other, at) => (other.worse.includes(place) ? [at] : []));
      const open = table.configurations.flatMap((_, at) =>
        at === place || one.worse.includes(at) || better.includes(at) ? [] : [at]);
      fact(`truly better than (${one.worse.length})`, names(one.worse));
      fact(`truly worse than (${better.length})`, names(better));
      fact(`cannot be told from (${open.length})`, names(open));
    }
    const parts = [make("h4", {}, `${one.config}, number ${one.number}`), drawing, facts];
    if (one.trainings.length) {
      const body = make("tbody");
      for (const [seed, accuracy, link, device, seconds, commit] of one.trainings) {
        body.append(make("tr", {}, make("td", {}, String(seed)), make("td", { class: "number" }, number(accuracy, 2)),
          make("td", {}, link ? make("a", { href: link }, decodeURIComponent(link.split("/").pop())) : "no record here"),
          make("td", {}, device || "–"), make("td", { class: "number" }, seconds === null ? "–" : number(seconds, 0)),
          make("td", {}, commit || "–")));
      }
      const head = make("tr", {}, ...["seed", "accuracy %", "record", "device", "seconds", "commit"].map((text) => make("th", { scope: "col" }, text)));
      parts.push(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "its trainings" }, make("table", {}, make("thead", {}, head), body)));
    } else {
      parts.push(make("p", { class: "facts" }, "The table states means alone, without the accuracy of each seed."));
    }
    panel.replaceChildren(...parts);
  }
  all('[data-parameter="chosen"]').forEach((select) => detail(select.closest("figure")));

  // ---- colours
  const button = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  let theme = "auto";
  try { theme = localStorage.getItem("theme") || "auto"; } catch { /* a page from disk may have no storage */ }
  function dress() {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `◐ ${theme}`;
    button.setAttribute("aria-label", `Colours of the page: ${theme === "auto" ? "as the system has it" : theme}`);
  }
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try { localStorage.setItem("theme", theme); } catch { /* likewise */ }
    dress();
  });
  dress();

  // What was folded is folded again, also where a browser says twice that it is about to print.
  window.addEventListener("beforeprint", () => all("details").forEach((one) => {
    one.dataset.was ??= one.open ? "open" : "closed";
    if (!one.closest(".vega-embed")) one.open = true;
  }));
  window.addEventListener("afterprint", () => all("details").forEach((one) => {
    one.open = one.dataset.was === "open";
    delete one.dataset.was;
  }));
})();
