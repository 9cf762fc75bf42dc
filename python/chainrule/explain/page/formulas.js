"use strict";
// What is selected, as formulas with their numbers.

const Formulas = (() => {
  const { element, math, prose, number } = Notation;
  const TERMS = 8; // of a sum, before the rest is one number

  const wrapped = (value) => (value < 0 ? `(${number(value)})` : number(value));

  // A formula with a_j, z_j, y_j and n_L replaced by their numbers.
  function filled(text, values) {
    return text.replace(/\b([azy]_j|n_L)(²?)/g, (whole, name, square) => {
      if (!(name in values)) return whole;
      const value = values[name];
      return square && value < 0 ? `(${number(value)})²` : `${wrapped(value)}${square}`;
    });
  }

  function create(container, model, select, choose) {
    const { sizes, activations } = model.net;
    const { formulas, bias, inputNames, outputNames } = model.data;
    const outputOf = (l) => l === model.last;
    const one = () => model.view().parts[0];
    const called = (l, j) => (l === 0 ? inputNames : outputOf(l) ? outputNames : null)?.[j];
    let eta = 0;

    const heading = (text, ...tags) => element("h2", {}, prose(text), tags);
    const value = (v, name) =>
      element(
        "span",
        { class: "number", "data-quantity": name ?? null, "data-value": v },
        number(v),
      );
    const tag = (v) => (Number.isFinite(v) ? element("span", { class: "tag" }, number(v)) : []);
    const result = (v, name) => element("strong", {}, value(v, name));

    // symbol = parts
    function equation(symbol, ...lines) {
      return element(
        "div",
        { class: "equation" },
        element("div", { class: "symbol" }, math(symbol)),
        lines.map((line) => [
          element("div", { class: "sign" }, "="),
          element("div", { class: "side" }, line),
        ]),
      );
    }

    function link(text, label, focus) {
      return element(
        "button",
        { type: "button", class: "link", "aria-label": label, onclick: () => select(focus) },
        math(text),
      );
    }
    const weightLink = (l, j, k) =>
      link(`w_{${j},${k}}`, `Weight from ${k} to ${j} of layer ${l}`, { kind: "weight", l, j, k });
    const place = (l, j) => link(String(j), `Neuron ${j} of layer ${l}`, { kind: "neuron", l, j });
    const neuronLink = (symbol, l, j) =>
      link(`${symbol}_{${j}}`, `Neuron ${j} of layer ${l}`, { kind: "neuron", l, j });

    // The terms of a sum that the page knows, or the largest ones, and what the others come to.
    function sum(count, known, term, total) {
      let order = known;
      if (known.length > TERMS) {
        const sizes = new Map(known.map((i) => [i, Math.abs(term(i).product)]));
        order = [...known].sort((p, q) => sizes.get(q) - sizes.get(p)).slice(0, TERMS);
      }
      const rows = order.map((i, at) => {
        const { left, right, names, product, mark } = term(i);
        return element(
          "tr",
          { class: mark ? "mark" : null },
          element("td", {}, at ? "+" : ""),
          element("td", {}, names),
          element("td", {}, number(left)),
          element("td", {}, "·"),
          element("td", {}, right < 0 ? `(${number(right)})` : number(right)),
          element("td", {}, "="),
          element("td", {}, value(product)),
        );
      });
      if (count > order.length) {
        const rest = total - order.reduce((s, i) => s + term(i).product, 0);
        const others = `${(count - order.length).toLocaleString("en")} more terms, together`;
        rows.push(
          element(
            "tr",
            {},
            element("td", {}, order.length ? "+" : ""),
            element("td", { colspan: 5 }, others),
            element("td", {}, value(rest)),
          ),
        );
      }
      return element("div", { class: "scroll" }, element("table", { class: "sum terms" }, rows));
    }

    function forwardSum(l, j, k) {
      const { a, z } = one();
      const b = model.bias(l, j);
      const term = (i) => ({
        left: model.weight(l, j, i),
        right: a[l - 1][i],
        names: [weightLink(l, j, i), " · ", neuronLink("a", l - 1, i)],
        product: model.weight(l, j, i) * a[l - 1][i],
        mark: i === k,
      });
      const table = sum(
        sizes[l - 1],
        model.has(l, j) ? model.kept(l - 1) : [],
        term,
        z[l - 1][j] - (b ?? 0),
      );
      if (b !== null) {
        table
          .querySelector("table")
          .append(
            element(
              "tr",
              {},
              element("td", {}, "+"),
              element("td", {}, link(`b_{${j}}`, `Bias of neuron ${j}`, { kind: "bias", l, j })),
              element("td", { colspan: 4 }),
              element("td", {}, value(b)),
            ),
          );
      }
      return table;
    }

    function backwardSum(l, j) {
      const { delta, dCda } = one();
      const term = (q) => ({
        left: model.weight(l + 1, q, j),
        right: delta[l][q],
        names: [weightLink(l + 1, q, j), " · ", neuronLink("δ", l + 1, q)],
        product: model.weight(l + 1, q, j) * delta[l][q],
      });
      return sum(sizes[l + 1], model.has(l, j) ? model.kept(l + 1) : [], term, dCda[l - 1][j]);
    }

    function softmaxSum(j) {
      const { a, dCda, delta } = one();
      const [outputs, slopes] = [a[model.last], dCda[model.last - 1]];
      const slope = (i) => outputs[i] * ((i === j ? 1 : 0) - outputs[j]);
      const term = (i) => ({
        left: slopes[i],
        right: slope(i),
        names: [math(`i = ${i}`)],
        product: slopes[i] * slope(i) || 0,
      });
      return sum(outputs.length, [...outputs.keys()], term, delta[model.last - 1][j]);
    }

    // ∂C/∂a_j and ∂a_j/∂z_j of a neuron: [formula, the same with numbers, value] each.
    function factors(l, j) {
      const { a, z, y, dCda, gPrime } = one();
      const known = { a_j: a[l][j], z_j: z[l - 1][j], n_L: sizes[model.last], y_j: y[j] };
      const slope = formulas.slope[l - 1];
      return {
        cost: outputOf(l)
          ? { formula: formulas.dCda, numbers: filled(formulas.dCda, known), value: dCda[l - 1][j] }
          : { formula: "Σ_q w_qj δ_q", numbers: null, value: dCda[l - 1][j] },
        slope: { formula: slope, numbers: filled(slope, known), value: gPrime[l - 1][j] },
      };
    }

    const isSoftmax = (l) => activations[l - 1] === "softmax";

    function errorEquations(l, j) {
      const { delta, a, y } = one();
      if (isSoftmax(l)) {
        const lines = [
          math("Σ_i ∂C/∂a_i · ∂a_i/∂z_j"),
          softmaxSum(j),
          result(delta[l - 1][j], "delta"),
        ];
        const equations = [equation("δ_j = ∂C/∂z_j", ...lines)];
        if (formulas.fused) {
          const total = y.reduce((s, v) => s + v, 0);
          const numbers = `${wrapped(a[l][j])} · ${number(total)} - ${wrapped(y[j])}`;
          equations.push(
            equation("δ_j", math(formulas.fused), math(numbers), value(delta[l - 1][j])),
          );
        }
        return equations;
      }
      const { cost, slope } = factors(l, j);
      return [
        equation(
          "∂C/∂a_j",
          math(cost.formula),
          cost.numbers ? math(cost.numbers) : backwardSum(l, j),
          value(cost.value, "dC_da"),
        ),
        equation(
          "∂a_j/∂z_j",
          math(`g'(z_j) = ${slope.formula}`),
          math(slope.numbers),
          value(slope.value, "da_dz"),
        ),
        equation(
          "δ_j",
          math("∂C/∂a_j · ∂a_j/∂z_j"),
          math(`${number(cost.value)} · ${wrapped(slope.value)}`),
          result(delta[l - 1][j], "delta"),
        ),
        ...(formulas.fused && !Number.isFinite(cost.value) ? [rounded()] : []),
      ];
    }

    function rounded() {
      const text = `\`a_j\` has been rounded to its limit, so that the product is 0 · ∞; \`δ_j\` was computed without a division, as \`${formulas.fused}\`.`;
      return element("p", { class: "hint" }, prose(text));
    }

    function update(symbol, now, slope) {
      if (!model.complete) return [];
      const rule = equation(
        `${symbol} - η ∂C/∂${symbol}`,
        math(`${number(now)} - ${number(eta)} · ${wrapped(slope)}`),
        result(now - eta * slope, "updated"),
      );
      return [element("h3", {}, "Update"), rule];
    }

    function neuron({ l, j }) {
      const { a, z, delta } = one();
      const name = called(l, j);
      const title = heading(
        `Neuron \`j = ${j}\` of layer ${l}`,
        name ? element("span", { class: "tag" }, name) : [],
      );
      const known = { z_j: z[l - 1][j], a_j: a[l][j] };
      const g = formulas.g[l - 1];
      return [
        title,
        element("h3", {}, "Forward"),
        equation(
          "z_j",
          math(`Σ_k w_jk a_k${bias ? " + b_j" : ""}`),
          forwardSum(l, j),
          result(z[l - 1][j], "z"),
        ),
        equation("a_j", math(`g(z_j) = ${g}`), math(filled(g, known)), result(a[l][j], "a")),
        element("h3", {}, "Backward"),
        ...errorEquations(l, j),
        ...(bias ? [equation("∂C/∂b_j", math("δ_j"), result(delta[l - 1][j], "gradient"))] : []),
        element(
          "p",
          { class: "hint" },
          prose(
            `Select a weight \`w_jk\` above, or an edge of the drawing, to see its gradient \`δ_j a_k\`.`,
          ),
        ),
      ];
    }

    function factorCard(symbol, formula, numbers, v, name) {
      return element(
        "div",
        { class: "factor" },
        element("div", { class: "what" }, math(symbol)),
        element("div", { class: "formula" }, math(formula)),
        numbers ? element("div", { class: "numbers" }, math(numbers)) : [],
        element("div", { class: "amount" }, value(v, name)),
      );
    }

    // The factors of the chain rule for a weight (k) or a bias (k is null).
    function parameter({ l, j, k }) {
      const { a, delta } = one();
      const isBias = k === undefined;
      const symbol = isBias ? "b_j" : "w_jk";
      const [last, now] = isBias ? [1, model.bias(l, j)] : [a[l - 1][k], model.weight(l, j, k)];
      const slope = delta[l - 1][j] * last;
      const { cost, slope: gPrime } = factors(l, j);
      const sent = factorCard(`∂z_j/∂${symbol}`, isBias ? "1" : "a_k", null, last, "dz_dw");
      const cards = isSoftmax(l)
        ? [factorCard("∂C/∂z_j", "Σ_i ∂C/∂a_i · ∂a_i/∂z_j", null, delta[l - 1][j], "delta"), sent]
        : [
            factorCard("∂C/∂a_j", cost.formula, cost.numbers, cost.value, "dC_da"),
            factorCard("∂a_j/∂z_j", gPrime.formula, gPrime.numbers, gPrime.value, "da_dz"),
            sent,
          ];
      const product = cards.flatMap((card, i) =>
        i ? [element("span", { class: "times" }, "·"), card] : [card],
      );
      return [
        element(
          "h2",
          {},
          isBias ? "Bias " : "Weight ",
          math(isBias ? `b_{${j}}` : `w_{${j},${k}}`),
          tag(now),
        ),
        element(
          "p",
          {},
          isBias ? "of neuron " : "to neuron ",
          math("j = "),
          place(l, j),
          ` of layer ${l}`,
          isBias ? "" : [", from neuron ", math("k = "), place(l - 1, k), ` of layer ${l - 1}`],
        ),
        equation(
          `∂C/∂${symbol}`,
          math(
            isSoftmax(l) ? `∂C/∂z_j · ∂z_j/∂${symbol}` : `∂C/∂a_j · ∂a_j/∂z_j · ∂z_j/∂${symbol}`,
          ),
        ),
        element("div", { class: "factors" }, product),
        equation(
          `∂C/∂${symbol}`,
          math(isBias ? "δ_j" : "δ_j a_k"),
          isBias ? [] : math(`${number(delta[l - 1][j])} · ${wrapped(last)}`),
          result(slope, "gradient"),
        ),
        ...(outputOf(l) && !isSoftmax(l) ? [] : unfolded(l, j)),
        ...update(symbol, now, slope),
      ];
    }

    function unfolded(l, j) {
      if (isSoftmax(l))
        return [element("h3", {}, "The sum over the outputs"), ...errorEquations(l, j)];
      const { delta } = one();
      const details =
        delta[l].length > TERMS ? [] : [...delta[l].keys()].map((q) => errorDetails(l + 1, q));
      return [
        element("h3", {}, `The sum over the neurons q of layer ${l + 1}`),
        equation("∂C/∂a_j", backwardSum(l, j), value(one().dCda[l - 1][j])),
        ...details,
      ];
    }

    // δ_q of a later layer, folded away until it is asked for.
    function errorDetails(l, q) {
      const body = element("div", {});
      const summary = element(
        "summary",
        {},
        math(`δ_{${q}}`),
        ` of layer ${l} = `,
        value(one().delta[l - 1][q]),
      );
      const details = element("details", {}, summary, body);
      details.addEventListener("toggle", () => {
        if (!details.open || body.childElementCount) return;
        body.append(
          element("p", { class: "hint" }, prose(`with \`j = ${q}\` in layer ${l}`)),
          ...errorEquations(l, q),
        );
        const next = !outputOf(l) && sizes[l + 1] <= TERMS ? [...Array(sizes[l + 1]).keys()] : [];
        body.append(...next.map((r) => errorDetails(l + 1, r)));
      });
      return details;
    }

    function input({ j }) {
      const { a } = model.view();
      const name = called(0, j);
      const averaged = model.chosen === "mean" ? " (mean over the samples)" : "";
      return [
        heading(`Input \`k = ${j}\``, name ? element("span", { class: "tag" }, name) : []),
        equation("a_k", math("x_k"), [result(a[0][j], "a"), averaged]),
        element(
          "p",
          { class: "hint" },
          "An input has no weights of its own: it is the activation of layer 0.",
        ),
      ];
    }

    function cost() {
      const { a, y, cost: total, parts } = model.view();
      const mean = model.chosen === "mean";
      const rows = mean
        ? parts
            .slice(0, 32)
            .map((part, i) =>
              element(
                "tr",
                {},
                element("td", {}, sampleLink(i)),
                element("td", {}, value(part.cost)),
              ),
            )
        : [...a[model.last].keys()]
            .slice(0, 32)
            .map((j) =>
              element(
                "tr",
                {},
                element("td", {}, neuronLink("a", model.last, j)),
                element("td", {}, number(a[model.last][j])),
                element("td", {}, math(`y_{${j}}`)),
                element("td", {}, number(y[j])),
              ),
            );
      const formula = equation(
        "C",
        math(formulas.cost),
        element("div", { class: "scroll" }, element("table", { class: "sum" }, rows)),
        result(total, "cost"),
      );
      const intro = mean
        ? [element("p", {}, prose(`The mean over ${parts.length} samples of`))]
        : [];
      return [heading("Cost `C`"), ...intro, formula, equation("∂C/∂a_j", math(formulas.dCda))];
    }

    const sampleLink = (i) =>
      element("button", { type: "button", class: "link", onclick: () => choose(i) }, `sample ${i}`);

    // The mean over samples of δ_j a_k, or of δ_j, sample by sample.
    function meanOf({ kind, l, j, k }) {
      const { parts, z, a, delta } = model.view();
      const isWeight = kind === "weight";
      const symbol = isWeight ? "w_jk" : "b_j";
      const term = (i) => ({
        left: parts[i].delta[l - 1][j],
        right: isWeight ? parts[i].a[l - 1][k] : 1,
        names: [sampleLink(i)],
        product: parts[i].delta[l - 1][j] * (isWeight ? parts[i].a[l - 1][k] : 1),
      });
      const total = parts.reduce((s, _, i) => s + term(i).product, 0);
      const gradient = total / parts.length;
      const now = isWeight ? model.weight(l, j, k) : model.bias(l, j);
      const title = isWeight
        ? element("h2", {}, "Weight ", math(`w_{${j},${k}}`), tag(now))
        : heading(
            kind === "bias"
              ? `Bias \`b_{${j}}\` of layer ${l}`
              : `Neuron \`j = ${j}\` of layer ${l}`,
            called(l, j) ? element("span", { class: "tag" }, called(l, j)) : [],
          );
      const ends = isWeight
        ? [element("p", {}, `to neuron ${j} of layer ${l}, from neuron ${k} of layer ${l - 1}`)]
        : [];
      const means = [
        equation("mean z_j", value(z[l - 1][j], "z")),
        equation("mean a_j", value(a[l][j], "a")),
        equation("mean δ_j", value(delta[l - 1][j], "delta")),
      ];
      const product = isWeight ? "δ_j a_k" : "δ_j";
      const slope = [
        equation(`Σ_i ${product}`, sum(parts.length, [...parts.keys()], term, total), value(total)),
        equation(
          `∂C/∂${symbol}`,
          math(`1/n Σ_i ${product}`),
          math(`${number(total)} / ${parts.length}`),
          result(gradient, "gradient"),
        ),
      ];
      const slopes = !isWeight && !bias ? [] : [...slope, ...update(symbol, now, gradient)];
      return [
        title,
        ...ends,
        element(
          "p",
          {},
          `The mean over ${parts.length} samples. Choose one to see its forward and backward pass.`,
        ),
        ...(isWeight ? [] : means),
        ...slopes,
      ];
    }

    function body(focus) {
      if (focus.kind === "cost") return cost();
      if (focus.kind === "neuron" && focus.l === 0) return input(focus);
      if (model.chosen === "mean") return meanOf(focus);
      return focus.kind === "neuron" ? neuron(focus) : parameter(focus);
    }

    // Where a number can be typed: every neuron and weight, those that are not drawn too.
    function locator({ kind, l = model.last, j = 0, k }) {
      const field = (name, label, now, low, high) =>
        element(
          "label",
          {},
          math(label),
          element("input", {
            type: "number",
            name,
            min: low,
            max: high,
            value: now ?? "",
            "aria-label": `${name} (${low} to ${high})`,
          }),
        );
      const fields = [
        field("layer", "l", l, 0, model.last),
        field("neuron", "j", j, 0, sizes[l] - 1),
      ];
      if (l > 0) fields.push(field("from", "k", kind === "weight" ? k : null, 0, sizes[l - 1] - 1));
      const form = element(
        "form",
        { class: "locator", novalidate: true, "aria-label": "Go to a neuron or weight" },
        element("span", {}, "Go to"),
        fields,
        element("button", { type: "submit" }, "Show"),
      );
      const within = (text, high) => Math.max(0, Math.min(high, Math.trunc(Number(text) || 0)));
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const typed = new FormData(form);
        const layer = within(typed.get("layer"), model.last);
        const to = within(typed.get("neuron"), sizes[layer] - 1);
        const from = typed.get("from");
        select(
          from && layer
            ? { kind: "weight", l: layer, j: to, k: within(from, sizes[layer - 1] - 1) }
            : { kind: "neuron", l: layer, j: to },
        );
      });
      return form;
    }

    return {
      show(focus, rate) {
        eta = rate;
        const within = container.contains(document.activeElement);
        container.replaceChildren(...body(focus), locator(focus));
        // Who followed a link in here by keyboard goes on from the new heading.
        const title = container.querySelector("h2");
        title.setAttribute("tabindex", "-1");
        if (within) title.focus();
      },
    };
  }

  return { create };
})();
