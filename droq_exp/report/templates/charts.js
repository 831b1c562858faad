// One chart for each environment and code style, redrawn when a choice changes; readout and zoom by keyboard.
(() => {
  const form = document.getElementById("controls");
  const notes = document.getElementById("notes");
  const holder = document.getElementById("panels");
  const off = form.querySelectorAll("[aria-pressed='false']");
  const view = { hidden: new Set([...off].map((button) => Number(button.dataset.label))), printing: false };
  const config = {
    responsive: true, displaylogo: false, scrollZoom: false, doubleClick: "reset",
    modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg" },
  };
  const axisTitles = { step: "Environment steps", updates: "Critic updates", wall: `Wall time (${Data.wall.unit})` };
  const probe = document.body.appendChild(Object.assign(document.createElement("span"), { hidden: true }));

  function paint(name) {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  }
  function layout(panel) {
    const metric = Traces.metrics.get(view.metric);
    const axis = {
      gridcolor: paint("grid"), linecolor: paint("control"), zerolinecolor: paint("rule"), tickcolor: paint("control"),
      tickfont: { color: paint("muted") }, automargin: true, showline: true, ticks: "outside", ticklen: 4, zeroline: true, fixedrange: false,
      title: { font: { color: paint("ink"), size: 12.5 }, standoff: 8 },
    };
    const labelled = (text) => ({ ...axis, title: { ...axis.title, text } });
    return {
      xaxis: {
        ...labelled(axisTitles[view.axis]), rangemode: "tozero", nticks: 7, tickformat: view.axis === "wall" ? ",.6~g" : "~s", spikecolor: paint("control"),
        spikethickness: 1, spikedash: "solid", unifiedhovertitle: { text: "%{x:,.6~g}" },
      },
      yaxis: { ...labelled(metric.text), nticks: 7, tickformat: ",.6~g" },
      hovermode: view.shape === "seeds" ? "closest" : "x unified", hoverdistance: 40, dragmode: "zoom", showlegend: false,
      hoverlabel: { bgcolor: paint("surface"), bordercolor: paint("rule"), font: { color: paint("ink"), size: 12 }, namelength: 40 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: paint("muted"), activecolor: paint("ink") },
      margin: { l: 62, r: 12, t: 12, b: 46 }, paper_bgcolor: paint("page"), plot_bgcolor: paint("page"),
      font: { family: getComputedStyle(document.body).fontFamily, size: 11.5, color: paint("ink") },
      annotations: [], uirevision: `${view.metric} ${view.axis}`, autosize: !view.printing,
      ...(view.printing ? { width: 330, height: 250 } : {}),
    };
  }
  function draw(chart) {
    const panel = Number(chart.dataset.panel);
    const traces = Traces.of(panel, view);
    const made = layout(panel);
    if (!traces.length) {
      made.annotations = [{ text: `nothing to show: ${missing(panel)}`, showarrow: false, font: { color: paint("muted") } }];
      for (const axis of [made.xaxis, made.yaxis]) axis.showticklabels = false;
    }
    Plotly.react(chart, traces, made, config);
  }
  function missing(panel) {
    const here = Data.series.filter((series) => series.panel === panel);
    if (here.every((series) => view.hidden.has(series.label))) return "all are switched off";
    return `${Traces.metrics.get(view.metric).text} is not in the logs`;
  }
  function redraw() {
    const values = new FormData(form);
    Object.assign(view, {
      metric: values.get("metric"), axis: values.get("axis"), shape: values.get("shape"),
      published: values.get("published") ?? "off", dark: Theme.dark() && !view.printing,
    });
    document.querySelectorAll(".chart").forEach(draw);
    notes.textContent = remarks().join(" ");
  }
  function remarks() {
    const lines = [];
    const published = view.metric === Data.published_metric && view.axis === "step";
    if (view.shape === "interval") lines.push(`${Traces.metrics.get(view.metric).drawn}; a single seed has none.`);
    else lines.push("Each line is one seed.");
    if (view.shape === "interval" && view.axis !== "step") lines.push("Across is the seeds' mean; where one ends, that of the others goes on.");
    if (view.published !== "off" && Data.published.length) {
      lines.push(published ? "Dashed are the papers' means." : "Published curves are returns by environment step, so they are not shown here.");
    }
    if (view.hidden.size) lines.push(`Switched off: ${view.hidden.size} of ${Data.labels.length} lines.`);
    if (Data.every > 1) lines.push(`Thinned: one in ${Data.every} rows of each log is drawn, and the last.`);
    return lines;
  }

  // Keyboard: the readout moves over the positions at which the chart's visible curves have points.
  function positions(chart) {
    const xs = chart.data.filter((trace) => trace.meta.kind !== "band").flatMap((trace) => Array.from(trace.x));
    return [...new Set(xs.filter((x) => x !== null && Number.isFinite(x)))].sort((a, b) => a - b);
  }
  function readout(chart, move) {
    const xs = positions(chart);
    if (!xs.length) return;
    const at = Math.max(0, Math.min(xs.length - 1, move(chart.at ?? -1, xs.length)));
    chart.at = at;
    const said = [];
    const points = [];
    chart.data.forEach((trace, curveNumber) => {
      if (trace.meta.kind === "band") return;
      Array.from(trace.x).forEach((x, pointNumber) => {
        if (x !== xs[at] || !Number.isFinite(trace.y[pointNumber])) return;
        const custom = trace.customdata && trace.customdata[pointNumber];
        const extra = Array.isArray(custom) ? `${custom[1]}, n = ${custom[0]}` : custom != null ? ` (seed ${custom})` : "";
        said.push(`${trace.meta.text} ${Traces.shown(trace.y[pointNumber])}${extra}`);
        points.push({ curveNumber, pointNumber });
      });
    });
    Plotly.Fx.hover(chart, points);
    chart.nextElementSibling.textContent = `${axisTitles[view.axis]} ${Traces.shown(xs[at])}: ${said.join("; ")}`;
  }
  function zoom(chart, factor) {
    const [low, high] = chart.layout.xaxis.range;
    const centre = chart.at === undefined ? low : positions(chart)[chart.at];
    Plotly.relayout(chart, { "xaxis.range": [centre - (centre - low) * factor, centre + (high - centre) * factor] });
  }
  const keys = {
    ArrowRight: (chart) => readout(chart, (at) => at + 1),
    ArrowLeft: (chart) => readout(chart, (at) => at - 1),
    Home: (chart) => readout(chart, () => 0),
    End: (chart) => readout(chart, (_, count) => count - 1),
    "+": (chart) => zoom(chart, 0.5),
    "-": (chart) => zoom(chart, 2),
    0: (chart) => Plotly.relayout(chart, { "xaxis.autorange": true, "yaxis.autorange": true }),
  };

  Data.panels.forEach((panel, index) => {
    const figure = holder.appendChild(Object.assign(document.createElement("section"), { className: "panel" }));
    figure.append(Object.assign(document.createElement("h3"), { textContent: panel.title }));
    const chart = Object.assign(document.createElement("div"), { className: "chart", tabIndex: 0 });
    chart.dataset.panel = index;
    chart.setAttribute("role", "application");
    chart.setAttribute("aria-label", `Learning curves, ${panel.title}; left and right read out the values`);
    figure.append(chart, Object.assign(document.createElement("p"), { className: "readout note" }));
    figure.lastChild.setAttribute("aria-live", "polite");
    chart.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key](chart);
    });
  });
  form.addEventListener("change", redraw);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector(".legend").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const all = [...form.querySelectorAll("[data-label]")];
    const chosen = button.dataset.all ? all : [button];
    for (const each of chosen) {
      const on = button.dataset.all ? button.dataset.all === "true" : each.getAttribute("aria-pressed") === "false";
      each.setAttribute("aria-pressed", String(on));
      view.hidden[on ? "delete" : "add"](Number(each.dataset.label));
    }
    redraw();
  });
  Theme.onChange(redraw);
  const printing = (on) => { view.printing = on; redraw(); };
  matchMedia("print").addEventListener("change", (event) => printing(event.matches));
  new ResizeObserver(() => {
    const sticky = getComputedStyle(form).position === "sticky";
    document.documentElement.style.setProperty("--bar", sticky ? `${form.offsetHeight}px` : "0px");
  }).observe(form);
  redraw();
})();
