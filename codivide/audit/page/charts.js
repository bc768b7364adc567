// Pictures as SVG, coloured by the page's style sheet.

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

const FRAME = { width: 400, height: 210, left: 52, right: 12, top: 10, bottom: 38 };

/** About five round numbers from low to high. */
function ticks(low, high) {
  const rough = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
  return found;
}

const short = (value) => (Math.abs(value) >= 1000 ? number.format(Math.round(value)) : String(Number(value.toPrecision(3))));

/** Axes with their names; x and y are the functions from values to pixels. */
function frame(label, [low, high], [bottom, top], names, write = short) {
  const { width, height, right, top: above, bottom: below } = FRAME;
  const marks = ticks(bottom, top).map((tick) => [tick, write(tick)]);
  const left = Math.max(FRAME.left, 26 + 7 * Math.max(...marks.map(([, text]) => text.length))); // beside the name
  const x = (value) => left + ((value - low) / (high - low || 1)) * (width - left - right);
  const y = (value) => height - below - ((value - bottom) / (top - bottom || 1)) * (height - above - below);
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "chart" });
  for (const [tick, text] of marks) {
    node.append(
      svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, text),
    );
  }
  for (const tick of ticks(low, high)) {
    node.append(svg("text", { x: x(tick), y: height - below + 16, "text-anchor": "middle" }, short(tick)));
  }
  node.append(
    svg("line", { x1: left, x2: width - right, y1: y(bottom), y2: y(bottom), class: "axis" }),
    svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, names.x),
    svg("text", { transform: `translate(12 ${(height - below + above) / 2}) rotate(-90)`, "text-anchor": "middle" }, names.y),
  );
  return { node, x, y };
}

const path = (points) => `M${points.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L")}`;

/** Names of what is drawn, each with a piece of its line. */
function legend(entries) {
  return make("ul", { class: "legend" }, ...entries.map(([name, kind]) => {
    const sample = svg("svg", { viewBox: "0 0 28 10", width: 28, height: 10, "aria-hidden": "true" },
      svg("path", { d: "M1 5L27 5", class: `line ${kind}` }));
    return make("li", {}, sample, name);
  }));
}

/** Given numbers by predicted ones; those that look wrong are drawn last and stand out. */
function scatter(label, points, names) {
  const values = (k) => points.map((point) => point[k]).sort((a, b) => a - b);
  const least = (all) => all[Math.floor(0.005 * (all.length - 1))];
  const most = (all) => all[Math.ceil(0.995 * (all.length - 1))];
  const [given, predicted] = [values(0), values(1)];
  const bottom = Math.min(least(given), predicted[0]);
  const top = Math.max(most(given), predicted[predicted.length - 1]);
  const { node, x, y } = frame(label, [predicted[0], predicted[predicted.length - 1]], [bottom, top], names);
  for (const wrong of [false, true]) {
    for (const [one, said] of points.filter(([, , flagged]) => flagged === wrong)) {
      const at = Math.max(bottom, Math.min(top, one)); // what lies far out is drawn at the edge
      node.append(svg("circle", { cx: x(said), cy: y(at), r: wrong ? 3 : 2, class: wrong ? "point point-wrong" : "point" }));
    }
  }
  return make("figure", {}, node);
}

/** Lines over the epochs; a series is {name, points: [[x, y], ...]}. */
function lineChart(label, series, names, range = null, write = short) {
  const points = series.flatMap((one) => one.points);
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const span = range || [Math.min(0, ...ys), Math.max(...ys)];
  const { node, x, y } = frame(label, [Math.min(...xs), Math.max(...xs)], span, names, write);
  series.forEach((one, k) => {
    if (one.points.length === 1) {
      node.append(svg("circle", { cx: x(one.points[0][0]), cy: y(one.points[0][1]), r: 3, class: `dot line-${k}` }));
    } else {
      node.append(svg("path", { d: path(one.points.map(([a, b]) => [x(a), y(b)])), class: `line line-${k}` }));
    }
  });
  const figure = make("figure", {}, node);
  if (series.length > 1) figure.append(legend(series.map((one, k) => [one.name, `line-${k}`])));
  return figure;
}

/** Histogram of the losses with the fitted mixture; heights are roots, so that the small heap of wrong labels shows. */
function lossChart(losses) {
  const { edges, counts, mixture } = losses;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const width = (edges[edges.length - 1] - edges[0]) / counts.length;
  const normal = (x, mean, variance) =>
    Math.exp(-((x - mean) ** 2) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);
  const most = Math.max(...counts, 1);
  const label = `Histogram of the losses of ${number.format(total)} labels from ${short(edges[0])} to ` +
    `${short(edges[edges.length - 1])}${mixture ? ", with the components of the fitted mixture" : ""}`;
  const squared = (value) => number.format(Math.round(value * value));
  const { node, x, y } = frame(label, [edges[0], edges[edges.length - 1]], [0, Math.sqrt(most) * 1.05],
    { x: "loss", y: "labels (root scale)" }, squared);
  counts.forEach((count, k) => {
    const top = y(Math.sqrt(count));
    const [from, to] = [x(edges[k]), x(edges[k + 1])];
    const size = { x: from, y: top, width: Math.max(0.5, to - from - 0.6), height: y(0) - top };
    node.append(svg("rect", { ...size, class: "bin" }));
  });
  const figure = make("figure", {}, node);
  if (mixture) {
    const order = mixture.mean.map((_, k) => k).sort((a, b) => mixture.mean[a] - mixture.mean[b]);
    const steps = Array.from({ length: 240 }, (_, k) => edges[0] + ((k + 0.5) / 240) * (edges[edges.length - 1] - edges[0]));
    const names = order.map((k, place) => {
      const height = (value) => total * width * mixture.weight[k] * normal(value, mixture.mean[k], mixture.variance[k]);
      const points = steps.map((value) => [x(value), y(Math.min(Math.sqrt(height(value)), Math.sqrt(most) * 1.05))]);
      const kind = place === 0 ? "line-0" : "line-1";
      node.append(svg("path", { d: path(points), class: `line ${kind}` }));
      const heap = place === 0 ? "smaller losses (likely right)" : "larger losses (likely wrong)";
      return [`${heap}: ${percent(mixture.weight[k], 0)}, mean ${short(mixture.mean[k])}`, kind];
    });
    figure.append(legend(names));
  }
  return figure;
}
