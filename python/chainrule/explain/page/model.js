"use strict";
// The network of the page: its data, what is selected, and the updates made so far. A network of
// many parameters comes as an excerpt: the traces of its samples, the weights between a few of
// its neurons (of which `kept` has the numbers), and no updates.

const Model = (() => {
  function decoded({ type, data }) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const values =
      type === "float32" ? new Float32Array(bytes.buffer) : new Float64Array(bytes.buffer);
    return Float64Array.from(values);
  }

  const rows = (values, width) =>
    Array.from({ length: values.length / width }, (_, i) =>
      values.subarray(i * width, (i + 1) * width),
    );

  // Cuts a flat vector into W^1, b^1, W^2, … of layers with these widths.
  function layers(values, sizes, hasBias) {
    const [weights, biases] = [[], []];
    let at = 0;
    const take = (count) => values.subarray(at, (at += count));
    for (let l = 1; l < sizes.length; l++) {
      weights.push(take(sizes[l - 1] * sizes[l]));
      if (hasBias) biases.push(take(sizes[l]));
    }
    return { weights, biases };
  }

  function load(data) {
    const { sizes, activations, loss, bias } = data;
    const kept = data.kept ?? sizes.map((n) => [...Array(n).keys()]);
    const widths = kept.map((neurons) => neurons.length);
    const net = { sizes, activations, loss, ...layers(decoded(data.parameters), widths, bias) };
    const y = rows(decoded(data.y), sizes.at(-1));
    const samples = rows(decoded(data.x), sizes[0]).map((x, i) => ({ x, y: y[i] }));
    const places = kept.map((neurons) => new Map(neurons.map((j, at) => [j, at])));
    return create(net, samples, data, places, data.traces ? recorded(data, net, samples) : null);
  }

  // The traces of an excerpt, in the form of Arithmetic.trace.
  function recorded({ traces, sizes }, net, samples) {
    const total = sizes.slice(1).reduce((sum, n) => sum + n, 0);
    const values = Object.fromEntries(
      Object.entries(traces).map(([name, array]) => [name, rows(decoded(array), total)]),
    );
    return samples.map(({ x, y }, i) => {
      const split = (name) => {
        let at = 0;
        return sizes.slice(1).map((n) => values[name][i].subarray(at, (at += n)));
      };
      const pass = { a: [x, ...split("a")], z: split("z") };
      return {
        ...pass,
        y,
        cost: Arithmetic.cost(net, pass, y),
        gPrime: split("gPrime"),
        dCda: split("dCda"),
        delta: split("delta"),
      };
    });
  }

  function create(initial, samples, data, places, fixed) {
    let net = initial;
    let chosen = 0; // a sample's number, or "mean" of all
    let traces = new Map(); // of the samples that were needed since the last update
    let current = null;
    let updates = 0;
    let costs = null; // of the selection, one an update since it was selected

    function traceOf(i) {
      if (fixed) return fixed[i];
      if (!traces.has(i)) traces.set(i, Arithmetic.trace(net, samples[i]));
      return traces.get(i);
    }

    const numbers = () => (chosen === "mean" ? samples.map((_, i) => i) : [chosen]);

    function mean(arrays) {
      if (arrays.length === 1) return arrays[0];
      const sum = new Float64Array(arrays[0].length);
      for (const array of arrays) array.forEach((v, j) => (sum[j] += v / arrays.length));
      return sum;
    }

    // Every quantity of the selection: of one sample, or its mean over all.
    function view() {
      if (current) return current;
      const parts = numbers().map(traceOf);
      const layers = (name) =>
        parts[0][name].map((_, i) => mean(parts.map((part) => part[name][i])));
      current = {
        a: layers("a"),
        z: layers("z"),
        gPrime: layers("gPrime"),
        dCda: layers("dCda"),
        delta: layers("delta"),
        y: mean(parts.map((part) => part.y)),
        cost: parts.reduce((sum, part) => sum + part.cost, 0) / parts.length,
        parts,
      };
      return current;
    }

    function gradient() {
      return (view().gradient ??= Arithmetic.gradients(net, view().parts));
    }

    function changed() {
      traces = new Map();
      current = null;
    }

    return {
      data,
      samples,
      view,
      last: initial.activations.length,
      complete: !fixed,
      get net() {
        return net;
      },
      get chosen() {
        return chosen;
      },
      get updates() {
        return updates;
      },
      get costs() {
        return (costs ??= [view().cost]);
      },
      choose(value) {
        chosen = value;
        current = costs = null;
      },
      // The neurons of layer l whose weights the page has.
      kept: (l) => [...places[l].keys()],
      has: (l, j) => places[l].has(j),
      weight(l, j, k) {
        const width = places[l - 1].size;
        return net.weights[l - 1][places[l].get(j) * width + places[l - 1].get(k)];
      },
      bias: (l, j) => net.biases[l - 1]?.[places[l].get(j)] ?? null,
      // ∂C/∂w_jk = δ_j a_k, the mean over the selection.
      slope(l, j, k) {
        const { parts } = view();
        return (
          parts.reduce((sum, { delta, a }) => sum + delta[l - 1][j] * a[l - 1][k], 0) / parts.length
        );
      },
      // The cost of the selection after an update with this learning rate.
      costAfter(eta) {
        const there = Arithmetic.updated(net, gradient(), eta);
        return Arithmetic.meanCost(
          there,
          numbers().map((i) => samples[i]),
        );
      },
      update(eta) {
        costs ??= [view().cost];
        net = Arithmetic.updated(net, gradient(), eta);
        updates += 1;
        changed();
        costs.push(view().cost);
      },
      reset() {
        net = initial;
        updates = 0;
        costs = null;
        changed();
      },
    };
  }

  return { load };
})();
