"use strict";
// The network as a drawing: activations fill the neurons, errors ring them, weights join them.

const Drawing = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const { number, short } = Notation;
  // A layer with more neurons is drawn as its first and last ones, and all of them as cells.
  const WHOLE = 10;
  const [HEAD, TAIL] = [3, 2];
  const MOST_CELLS = 1024;
  const MOST_LABELS = 6; // edges between two layers up to which each has its number

  function make(tag, attributes = {}, ...children) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // Larger numbers are stronger, by the root, so that small errors of early layers still show.
  function tint(node, value, largest) {
    const share =
      Number.isFinite(value) && largest > 0 ? Math.sqrt(Math.min(1, Math.abs(value) / largest)) : 0;
    node.style.setProperty("--t", `${(100 * share).toFixed(1)}%`);
    node.dataset.sign = value < 0 ? "negative" : "positive";
    return share;
  }

  const largestOf = (arrays) =>
    arrays.reduce(
      (m, array) => array.reduce((n, v) => (Number.isFinite(v) ? Math.max(n, Math.abs(v)) : n), m),
      0,
    );

  function shownNeurons(n) {
    if (n <= WHOLE) return Array.from({ length: n }, (_, j) => j);
    return [...Array(HEAD).keys(), ...Array.from({ length: TAIL }, (_, i) => n - TAIL + i)];
  }

  // The cells of a wide layer: a square if there is one, as for the pixels of an image.
  function grid(n, width) {
    const bucket = Math.ceil(n / MOST_CELLS);
    const count = Math.ceil(n / bucket);
    const columns = Math.ceil(Math.sqrt(count));
    const size = Math.max(3, Math.min(9, Math.floor(width / columns)));
    return { bucket, count, columns, rows: Math.ceil(count / columns), size };
  }

  function create(container, model, select) {
    const { sizes } = model.net;
    const { inputNames, outputNames } = model.data;
    let neurons, edges, cells, places, costNode, columns, radius;

    const nameOf = (l, j) => (l === 0 ? inputNames : l === model.last ? outputNames : null)?.[j];

    function layout() {
      const width = container.clientWidth || 640;
      const narrow = width < 520;
      const crowded = Math.max(...sizes.map((n) => shownNeurons(n).length)) > 7;
      radius = narrow || crowded ? 19 : 23;
      const row = 2 * radius + (crowded ? 32 : 38);
      const widest = narrow ? 88 : 150; // of a block of cells
      const margin = sizes[0] > WHOLE ? widest / 2 + 6 : radius + (narrow ? 8 : 20);
      const right = narrow ? 56 : 70;
      const step = Math.max(narrow ? 66 : 110, (width - margin - right) / (sizes.length - 0.1));
      columns = sizes.map((n, l) => {
        const cells = n > WHOLE ? grid(n, Math.min(widest, step - 26)) : null;
        const block = cells ? (cells.rows * cells.size + 22) * (l ? 2 : 1) + 6 : 0;
        return { x: margin + l * step, l, n, shown: shownNeurons(n), cells, block };
      });
      const heights = columns.map(({ shown, block }) => shown.length * row + block);
      const height = Math.max(...heights) + 34;
      places = columns.map((column, l) => {
        let y = 26 + (height - 34 - heights[l]) / 2 + row / 2;
        const at = new Map();
        column.shown.forEach((j, i) => {
          if (column.cells && i === HEAD) {
            column.blockY = y - row / 2 + 4;
            y += column.block;
          }
          at.set(j, [column.x, y]);
          y += row;
        });
        return at;
      });
      return { width: margin + (sizes.length - 0.1) * step + right, height, step };
    }

    // Where neuron j is: its circle, or its cell.
    function place(l, j) {
      if (places[l].has(j)) return places[l].get(j);
      const { cells: c, x, blockY } = columns[l];
      const i = Math.floor(j / c.bucket);
      return [
        x - (c.columns * c.size) / 2 + ((i % c.columns) + 0.5) * c.size,
        blockY + 16 + (Math.floor(i / c.columns) + 0.5) * c.size,
      ];
    }

    function button(node, label, action) {
      node.setAttribute("role", "button");
      node.setAttribute("tabindex", "0");
      node.setAttribute("aria-label", label);
      node.addEventListener("click", action);
      node.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        event.stopPropagation();
        action();
      });
      return node;
    }

    function build() {
      const { width, height, step } = layout();
      const focused = document.activeElement?.dataset?.key;
      const svg = make("svg", {
        width,
        height,
        viewBox: `0 0 ${width} ${height}`,
        role: "group",
        "aria-label": `Network ${sizes.join("-")}`,
      });
      [neurons, edges, cells] = [[], [], []];
      columns.forEach(({ x, l }) => {
        const title = l === 0 ? "input" : `${l} ${model.net.activations[l - 1]}`;
        svg.append(make("text", { x, y: 14, class: "layer" }, title));
      });
      const lines = make("g");
      const numbers = make("g");
      svg.append(lines, numbers);
      for (let l = 1; l < sizes.length; l++) {
        const labels = make("g", sizes[l] * sizes[l - 1] === 1 ? { "data-alone": "" } : {});
        const few = sizes[l] * sizes[l - 1] <= (step < 150 ? 1 : MOST_LABELS);
        numbers.append(labels);
        for (const [j, to] of places[l]) {
          for (const [k, from] of places[l - 1])
            drawEdge(lines, few ? labels : null, l, j, k, from, to);
        }
      }
      const extra = make("g", { class: "extra" });
      svg.append(extra);
      drawCost(svg, width, lines);
      columns.forEach((column, l) => {
        if (column.cells) drawCells(svg, column, l);
        for (const [j, at] of places[l]) drawNeuron(svg, l, j, at);
      });
      container.replaceChildren(svg);
      container.extra = extra;
      if (focused) container.querySelector(`[data-key="${focused}"]`)?.focus();
    }

    function drawEdge(parent, labels, l, j, k, [x1, y1], [x2, y2]) {
      const d = `M${x1} ${y1}L${x2} ${y2}`;
      const line = make("path", { d, class: "edge" });
      const target = make(
        "path",
        { d, class: "target", "data-edge": `${l},${j},${k}` },
        make("title"),
      );
      target.addEventListener("click", () => select({ kind: "weight", l, j, k }));
      parent.append(line, target);
      let label = null;
      if (labels) {
        const alone = "alone" in labels.dataset;
        const t = alone ? 0.5 : (radius + 22) / (x2 - x1);
        label = make("text", {
          x: x1 + (x2 - x1) * t,
          y: y1 + (y2 - y1) * t + (alone ? -7 : 4),
          class: "weight",
        });
        labels.append(label);
      }
      edges.push({ l, j, k, line, target, label });
    }

    function drawNeuron(svg, l, j, [x, y]) {
      const circle = make("circle", { cx: x, cy: y, r: radius, class: "neuron tinted" });
      const ring = make("circle", { cx: x, cy: y, r: radius, class: "ring" });
      const value = make("text", { x, y: y + 4, class: "value" });
      const error = make("text", { x, y: y + radius + 14, class: "error" });
      const name = nameOf(l, j) ?? String(j);
      const cut = name.length > 13 ? `${name.slice(0, 12)}…` : name;
      const label = make("text", { x, y: y - radius - 5, class: "name" }, cut);
      const target = make("text", { x: x + radius + 6, y: y + 4, class: "aim" });
      const group = make(
        "g",
        { class: "unit", "data-key": `n${l},${j}` },
        label,
        circle,
        ring,
        value,
        error,
      );
      if (l === model.last) group.append(target);
      button(group, "", () => select({ kind: "neuron", l, j }));
      svg.append(group);
      neurons.push({ l, j, group, circle, ring, value, error, target, name });
    }

    function drawCells(svg, column, l) {
      const { bucket, count, columns: across, rows, size } = column.cells;
      const blocks = l ? ["a", "delta"] : ["a"];
      blocks.forEach((what, b) => {
        const x = column.x - (across * size) / 2;
        const y = column.blockY + 16 + b * (rows * size + 22);
        const title = `${what === "a" ? "a" : "δ"} of all ${column.n.toLocaleString("en")}`;
        svg.append(make("text", { x: column.x, y: y - 5, class: "name" }, title));
        const group = make("g", {
          class: "cells",
          "data-key": `c${l},${what}`,
          tabindex: 0,
          role: "slider",
          "aria-label": `${title} of layer ${l}`,
          "aria-valuemin": 0,
          "aria-valuemax": column.n - 1,
          "aria-valuenow": 0,
        });
        group.append(
          make("rect", {
            x: x - 1,
            y: y - 1,
            width: across * size + 2,
            height: rows * size + 2,
            class: "frame",
          }),
        );
        const rects = Array.from({ length: count }, (_, i) =>
          group.appendChild(
            make("rect", {
              x: x + (i % across) * size,
              y: y + Math.floor(i / across) * size,
              width: size,
              height: size,
              class: "cell tinted",
            }),
          ),
        );
        const mark = make("rect", { width: size + 2, height: size + 2, class: "mark" });
        group.append(mark);
        const block = {
          l,
          what,
          rects,
          group,
          mark,
          bucket,
          across,
          x,
          y,
          size,
          chosen: 0,
          strongest: [],
        };
        const pick = (i) => {
          block.chosen = Math.max(0, Math.min(count - 1, i));
          select({ kind: "neuron", l, j: block.strongest[block.chosen] });
        };
        group.addEventListener("click", (event) => {
          const i = rects.indexOf(event.target);
          if (i >= 0) pick(i);
        });
        group.addEventListener("keydown", (event) => {
          const move = {
            ArrowLeft: -1,
            ArrowRight: 1,
            ArrowUp: -across,
            ArrowDown: across,
            Home: -count,
            End: count,
            Enter: 0,
            " ": 0,
          }[event.key];
          if (move === undefined) return;
          event.preventDefault();
          event.stopPropagation();
          pick(block.chosen + move);
        });
        svg.append(group);
        cells.push(block);
      });
    }

    function drawCost(svg, width, lines) {
      const outputs = [...places[model.last].values()];
      const x = width - 34;
      const y = outputs.reduce((sum, [, at]) => sum + at, 0) / outputs.length;
      for (const [x1, y1] of outputs)
        lines.append(make("path", { d: `M${x1} ${y1}L${x} ${y}`, class: "to-cost" }));
      const value = make("text", { x, y: y + 13, class: "value" });
      const group = make(
        "g",
        { class: "unit cost", "data-key": "cost" },
        make("rect", { x: x - 32, y: y - 23, width: 64, height: 46, rx: 8 }),
        make("text", { x, y: y - 4, class: "symbol" }, "C"),
        value,
      );
      button(group, "", () => select({ kind: "cost" }));
      svg.append(group);
      costNode = { group, value };
    }

    function touches(focus, l, j, k) {
      if (focus.kind === "weight") return focus.l === l && focus.j === j && focus.k === k;
      return (
        focus.kind === "neuron" &&
        ((focus.l === l && focus.j === j) || (focus.l === l - 1 && focus.j === k))
      );
    }

    function flow(active, l) {
      if (active.phase === "z" && active.layer === l) return "forward";
      if (active.phase === "dCda" && active.layer === l - 1) return "backward";
      return active.phase === "gradient" && active.layer === l ? "gradient" : "";
    }

    function paint({ focus, active, known }) {
      const view = model.view();
      const scale = {
        a: largestOf(view.a),
        delta: largestOf(view.delta),
        w: largestOf([edges.map(({ l, j, k }) => model.weight(l, j, k))]),
        slope: largestOf([edges.map(({ l, j, k }) => model.slope(l, j, k))]),
      };
      for (const edge of edges) paintEdge(edge, scale, focus, active);
      paintExtra(scale, focus);
      for (const neuron of neurons) paintNeuron(neuron, view, scale, focus, active, known);
      for (const block of cells) paintCells(block, view, scale, focus, known);
      const shown = known("cost", model.last);
      costNode.value.textContent = shown ? short(view.cost) : "";
      costNode.group.setAttribute("aria-label", shown ? `Cost C ${number(view.cost)}` : "Cost C");
      costNode.group.setAttribute("aria-pressed", focus.kind === "cost");
      costNode.group.classList.toggle("active", active.phase === "cost");
      return scale;
    }

    function paintEdge({ l, j, k, line, target, label }, scale, focus, active) {
      const gradient = flow(active, l) === "gradient";
      const weight = model.weight(l, j, k);
      const value = gradient ? model.slope(l, j, k) : weight;
      const share = tint(line, value, gradient ? scale.slope : scale.w);
      line.style.strokeWidth = (0.6 + 3.4 * share).toFixed(2);
      line.setAttribute(
        "class",
        `edge ${flow(active, l)}${touches(focus, l, j, k) ? " touched" : ""}`,
      );
      target.classList.toggle("selected", focus.kind === "weight" && touches(focus, l, j, k));
      target.firstChild.textContent = `w ${j},${k} of layer ${l}: ${number(weight)}; ∂C/∂w ${number(model.slope(l, j, k))}`;
      if (label) label.textContent = short(value);
    }

    // The edges of a neuron or weight that the drawing leaves out.
    function paintExtra(scale, focus) {
      const pairs = [];
      if (focus.kind === "weight") pairs.push([focus.l, focus.j, focus.k]);
      if (focus.kind === "neuron") {
        if (focus.l > 0)
          for (const k of places[focus.l - 1].keys()) pairs.push([focus.l, focus.j, k]);
        if (focus.l < model.last)
          for (const q of places[focus.l + 1].keys()) pairs.push([focus.l + 1, q, focus.j]);
      }
      const drawn = ([l, j, k]) => places[l].has(j) && places[l - 1].has(k);
      const hidden = pairs.filter((pair) => !drawn(pair) && Number.isFinite(model.weight(...pair)));
      container.extra.replaceChildren(
        ...hidden.map(([l, j, k]) => {
          const [[x1, y1], [x2, y2]] = [place(l - 1, k), place(l, j)];
          const line = make("path", { d: `M${x1} ${y1}L${x2} ${y2}`, class: "edge touched" });
          line.style.strokeWidth = (0.6 + 3.4 * tint(line, model.weight(l, j, k), scale.w)).toFixed(
            2,
          );
          return line;
        }),
      );
    }

    function paintNeuron(
      { l, j, group, circle, ring, value, error, target, name },
      view,
      scale,
      focus,
      active,
      known,
    ) {
      const here = active.layer === l;
      const hasA = known(l ? "a" : "input", l);
      const hasZ = l > 0 && known("z", l);
      const hasError = l > 0 && known("delta", l);
      const showsSlope = l > 0 && here && active.phase === "dCda";
      tint(circle, hasA ? view.a[l][j] : 0, scale.a);
      tint(ring, hasError ? view.delta[l - 1][j] : 0, scale.delta);
      ring.classList.toggle("known", hasError);
      circle.classList.toggle("unknown", !hasA);
      value.textContent = hasA ? short(view.a[l][j]) : hasZ ? short(view.z[l - 1][j]) : "";
      value.classList.toggle("sum", hasZ && !hasA);
      error.textContent = showsSlope
        ? `∂C/∂a ${short(view.dCda[l - 1][j])}`
        : hasError
          ? `δ ${short(view.delta[l - 1][j])}`
          : "";
      target.textContent = `y ${short(view.y[j] ?? 0)}`;
      const selected = focus.kind === "neuron" && focus.l === l && focus.j === j;
      group.classList.toggle("selected", selected);
      group.classList.toggle(
        "active",
        here && ["z", "a", "dCda", "delta", "input"].includes(active.phase),
      );
      group.setAttribute("aria-pressed", selected);
      const parts = [`${l ? "Neuron" : "Input"} ${name}${l ? ` of layer ${l}` : ""}`];
      if (hasZ) parts.push(`z ${number(view.z[l - 1][j])}`);
      if (hasA) parts.push(`a ${number(view.a[l][j])}`);
      if (hasError) parts.push(`δ ${number(view.delta[l - 1][j])}`);
      group.setAttribute("aria-label", parts.join(", "));
    }

    function paintCells(block, view, scale, focus, known) {
      const { l, what, rects, bucket, group, mark, across, x, y, size } = block;
      const values = what === "a" ? view.a[l] : view.delta[l - 1];
      const seen = what === "a" ? known(l ? "a" : "input", l) : known("delta", l);
      rects.forEach((rect, i) => {
        let strongest = i * bucket;
        for (let j = strongest; j < Math.min(values.length, (i + 1) * bucket); j++) {
          if (Math.abs(values[j]) > Math.abs(values[strongest])) strongest = j;
        }
        block.strongest[i] = strongest;
        tint(rect, seen ? values[strongest] : 0, what === "a" ? scale.a : scale.delta);
      });
      const chosen =
        focus.kind === "neuron" && focus.l === l
          ? focus.j
          : focus.kind === "weight" && focus.l === l
            ? focus.j
            : focus.kind === "weight" && focus.l === l + 1
              ? focus.k
              : null;
      mark.toggleAttribute("hidden", chosen === null);
      if (chosen === null) return;
      block.chosen = Math.floor(chosen / bucket);
      mark.setAttribute("x", x + (block.chosen % across) * size - 1);
      mark.setAttribute("y", y + Math.floor(block.chosen / across) * size - 1);
      group.setAttribute("aria-valuenow", chosen);
      group.setAttribute("aria-valuetext", `neuron ${chosen}: ${number(values[chosen])}`);
    }

    return { build, paint };
  }

  return { create };
})();
