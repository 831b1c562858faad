// From the data and what was chosen to plotly's traces. `view`: metric, axis, shape, published, hidden (a set), dark.
const Traces = (() => {
  const { column } = Data;
  const metrics = new Map(Data.metrics.map((metric) => [metric.key, metric]));

  // Plotly reads tags, entities and %{templates} in texts; names come from file names, so they must not be any.
  const plain = (text) => text.replace(/[&<>%{}$]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const colour = (label, view) => (view.dark ? label.dark : label.light);
  const translucent = (hex, alpha) => `${hex}${Math.round(255 * alpha).toString(16).padStart(2, "0")}`;

  function horizontal(columns, axis) {
    if (!columns[axis]) return null;
    const values = column(columns[axis]);
    return axis === "wall" ? values.map((value) => value / Data.wall.seconds) : values;
  }
  // One closed outline for each unbroken stretch, so that nothing is filled across a gap.
  function outline(x, low, high) {
    const [xs, ys] = [[], []];
    let first = 0;
    for (let i = 0; i <= x.length; i += 1) {
      if (i < x.length && Number.isFinite(low[i]) && Number.isFinite(high[i]) && Number.isFinite(x[i])) continue;
      for (let k = first; k < i; k += 1) { xs.push(x[k]); ys.push(high[k]); }
      for (let k = i - 1; k >= first; k -= 1) { xs.push(x[k]); ys.push(low[k]); }
      if (i > first) { xs.push(null); ys.push(null); }
      first = i + 1;
    }
    return [xs, ys];
  }
  // A few marks, so that lines are told apart without colour.
  const marks = (label, view) => ({ symbol: label.symbol, size: 7, color: colour(label, view), maxdisplayed: 9 });

  function interval(series, view, more) {
    const curve = series.curves[view.metric];
    const x = curve && horizontal(curve, view.axis);
    if (!x) return [];
    const label = Data.labels[series.label];
    const [mid, low, high, n] = [curve.center, curve.low, curve.high, curve.seeds].map(column);
    const [bandX, bandY] = outline(x, low, high);
    const custom = Array.from(mid, (_, i) => [
      n[i], Number.isFinite(low[i]) ? ` [${shown(low[i])}, ${shown(high[i])}]` : n[i] === 1 ? " (one seed)" : "",
    ]);
    const band = {
      x: bandX, y: bandY, mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: translucent(colour(label, view), view.band),
      hoverinfo: "skip", meta: { kind: "band" },
    };
    const line = {
      x, y: mid, mode: "lines+markers", marker: marks(label, view), line: { color: colour(label, view), width: 2 + more, dash: label.dash },
      name: plain(label.text), customdata: custom, meta: { kind: "line", text: label.text },
      hovertemplate: `%{y:,.4~g}%{customdata[1]}, n = %{customdata[0]}${view.axis === "step" ? "" : " at %{x:,.4~g}"}`,
    };
    return bandX.length ? [band, line] : [line];
  }
  // All seeds of a cell as one trace with gaps: a thousand traces would be slow.
  function seeds(series, view) {
    const metric = metrics.get(view.metric);
    const label = Data.labels[series.label];
    const [xs, ys, names] = [[], [], []];
    for (const run of series.runs) {
      const columns = run[metric.file];
      const x = columns && columns[metric.column] && horizontal(columns, view.axis);
      if (!x) continue;
      const y = column(columns[metric.column]);
      for (let i = 0; i < x.length; i += 1) { xs.push(x[i]); ys.push(y[i]); names.push(run.seed); }
      xs.push(null); ys.push(null); names.push(null);
    }
    if (!ys.some(Number.isFinite)) return [];
    return [{
      x: xs, y: ys, customdata: names, mode: "lines+markers", marker: marks(label, view), line: { color: colour(label, view), width: 1.2, dash: label.dash },
      name: plain(label.text), meta: { kind: "seeds", text: label.text },
      hovertemplate: `${plain(label.text)} seed %{customdata}<br>%{y:,.4~g} at %{x:,.6~g}<extra></extra>`,
    }];
  }
  function published(curve, view, far) {
    const label = Data.labels[curve.labels.find((each) => !view.hidden.has(each))];
    const [x, y] = upTo(far, column(curve.step), column(curve.values));
    return {
      x, y, mode: "lines", opacity: 0.9,
      line: { color: colour(label, view), width: 1.8, dash: "dash" }, name: plain(curve.text),
      meta: { kind: "published", text: curve.text }, hovertemplate: "%{y:,.4~g} at %{x:,}",
    };
  }
  // A line's points up to `end`, and the point in between at which it gets there.
  function upTo(end, x, y) {
    const count = x.filter((each) => each <= end).length;
    const [xs, ys] = [Array.from(x.subarray(0, count)), Array.from(y.subarray(0, count))];
    if (count && count < x.length && xs[count - 1] < end) {
      const part = (end - x[count - 1]) / (x[count] - x[count - 1]);
      xs.push(end);
      ys.push(y[count - 1] + part * (y[count] - y[count - 1]));
    }
    return [xs, ys];
  }
  // Of lines that are equal, those behind are wider, so that three of them show.
  function widened(visible, view) {
    const key = (series) => `${series.curves[view.metric]?.center}`;
    return visible.map((series, at) => {
      const equal = visible.slice(at + 1).filter((other) => series.curves[view.metric] && key(other) === key(series)).length;
      return { series, more: 4 * Math.min(equal, 2) };
    });
  }
  const furthest = (x, end) => x.reduce((most, value) => (value > most ? value : most), end);
  const shown = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });

  function of(panel, view) {
    const here = (each) => each.panel === panel && !(each.labels ?? [each.label]).every((label) => view.hidden.has(label));
    const matching = view.published !== "off" && view.axis === "step" && view.metric === Data.published_metric;
    const behind = matching ? Data.published.filter(here) : [];
    const visible = Data.series.filter(here);
    const faint = { ...view, band: Math.min(0.2, 0.9 / visible.length) };  // many bands hide each other
    const ours = widened(visible, view).map(({ series, more }) => (view.shape === "seeds" ? seeds(series, faint) : interval(series, faint, more)));
    const far = view.published === "whole" ? Infinity : ours.flat().reduce((end, trace) => furthest(trace.x, end), 0) || Infinity;
    const theirs = behind.map((curve) => published(curve, view, far)).filter((trace) => trace.x.length);
    const all = [...theirs, ...ours.flat()];
    return all.map((trace) => ({ type: "scatter", ...trace }));
  }
  return { of, metrics, plain, shown };
})();
