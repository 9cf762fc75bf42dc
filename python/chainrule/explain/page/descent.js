"use strict";
// The panel of gradient descent: a learning rate, updates, and how the cost falls.

const Descent = (() => {
  const { element, math, prose, number } = Notation;
  const SVG = "http://www.w3.org/2000/svg";
  const RATES = [-4, -3, -2, -1, 0]
    .flatMap((e) => [1, 1.5, 2, 3, 5, 7].map((m) => Number(`${m}e${e}`)))
    .concat(10);
  const START = 0.5;
  const CHEAP = 3e5; // multiply-adds of one cost up to which the curve over all rates is drawn

  function chart(title, points, { marked, logarithmic, label }) {
    const [width, height, left, right, top, bottom] = [300, 150, 12, 12, 22, 26];
    const finite = points.filter(([, y]) => Number.isFinite(y));
    if (!finite.length) finite.push([points.at(-1)[0], 0]);
    const [xs, ys] = [points.map(([x]) => x), finite.map(([, y]) => y)];
    const scaleX = logarithmic ? Math.log : (v) => v;
    const [x0, x1] = [scaleX(xs[0]), scaleX(xs.at(-1))];
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const px = (x) => left + ((scaleX(x) - x0) / (x1 - x0 || 1)) * (width - left - right);
    const py = (y) =>
      top + (high === low ? 0.5 : (high - y) / (high - low)) * (height - top - bottom);
    const node = (tag, attributes, text = "") => {
      const made = document.createElementNS(SVG, tag);
      for (const [name, v] of Object.entries(attributes)) made.setAttribute(name, v);
      made.textContent = text;
      return made;
    };
    const svg = node("svg", {
      viewBox: `0 0 ${width} ${height}`,
      class: "chart",
      role: "img",
      "aria-label": `${title}: from ${number(low)} to ${number(high)}`,
    });
    svg.append(
      node("line", {
        x1: left,
        x2: width - right,
        y1: height - bottom,
        y2: height - bottom,
        class: "axis",
      }),
      node("polyline", {
        points: finite.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" "),
        class: "curve",
      }),
      node("text", { x: left, y: 12 }, title),
      node(
        "text",
        { x: width - right, y: 12, class: "end" },
        high === low ? number(low, 4) : `${number(low, 4)} … ${number(high, 4)}`,
      ),
      node("text", { x: left, y: height - 8 }, number(xs[0])),
      node("text", { x: width - right, y: height - 8, class: "end" }, number(xs.at(-1))),
      node("text", { x: width / 2, y: height - 8, class: "middle" }, label),
    );
    const at = finite.find(([x]) => x === marked);
    if (at) svg.append(node("circle", { cx: px(at[0]), cy: py(at[1]), r: 5, class: "dot" }));
    return svg;
  }

  function create(root, model, updated, moved) {
    const get = (id) => root.querySelector(`#${id}`);
    const slider = get("eta");
    slider.max = RATES.length - 1;
    slider.value = RATES.indexOf(START);
    const rate = () => RATES[slider.value];

    function item(name, value, quantity) {
      const amount = element(
        "dd",
        { "data-quantity": quantity, "data-value": value },
        number(value),
      );
      return element("div", { class: "cost-item" }, element("dt", {}, prose(name)), amount);
    }

    function change(by) {
      const text = by === 0 ? "none" : `${by < 0 ? "▼" : "▲"} ${number(Math.abs(by), 3)}`;
      const amount = element("dd", { class: by < 0 ? "falls" : "rises" }, text);
      return element("div", { class: "cost-item" }, element("dt", {}, "change"), amount);
    }

    function show() {
      const eta = rate();
      const after = model.costAfter(eta);
      const now = model.view().cost;
      get("eta-value").textContent = number(eta);
      slider.setAttribute("aria-valuetext", String(eta));
      const what =
        model.chosen === "mean"
          ? "the mean gradient of all samples"
          : "the gradient of the sample shown";
      get("rule").replaceChildren(math("W ← W - η ∇W"), ` with ${what}`);
      get("costs").replaceChildren(
        item("Updates", model.updates, "updates"),
        item("Cost `C`", now, "cost-now"),
        item("after one update", after, "cost-after"),
        change(after - now),
      );
      const costs = model.costs.map((c, i) => [model.updates - model.costs.length + 1 + i, c]);
      const charts = [chart("C", costs, { marked: model.updates, label: "updates" })];
      const work =
        (model.chosen === "mean" ? model.samples.length : 1) *
        model.net.weights.reduce((s, w) => s + w.length, 0);
      if (work <= CHEAP) {
        const curve = RATES.map((one) => [one, model.costAfter(one)]);
        charts.push(
          chart("C after one update", curve, { marked: eta, logarithmic: true, label: "η" }),
        );
      }
      get("charts").replaceChildren(...charts);
      get("reset").disabled = model.updates === 0;
    }

    function run(times) {
      for (let i = 0; i < times; i++) model.update(rate());
      updated();
    }
    slider.addEventListener("input", moved);
    get("one").addEventListener("click", () => run(1));
    get("ten").addEventListener("click", () => run(10));
    get("reset").addEventListener("click", () => {
      model.reset();
      updated();
    });
    return { show, rate };
  }

  return { create };
})();
