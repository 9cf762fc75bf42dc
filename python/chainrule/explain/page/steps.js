"use strict";
// The pass as steps: forward layer by layer, the cost, back layer by layer.

const Steps = (() => {
  function build({ net, data, last }) {
    const { activations, loss } = net;
    const { g, slope, cost, dCda, fused } = data.formulas;
    const steps = [
      {
        phase: "input",
        layer: 0,
        math: "a^0 = x",
        text: "Forward. The input is the activation of layer 0.",
      },
    ];
    for (let l = 1; l <= last; l++) {
      const bias = data.bias ? ` + b^${l}` : "";
      steps.push({
        phase: "z",
        layer: l,
        math: `z^${l} = W^${l} a^${l - 1}${bias}`,
        text: `Each neuron j of layer ${l} weighs what layer ${l - 1} sends: \`z_j = Σ_k w_jk a_k${data.bias ? " + b_j" : ""}\`.`,
      });
      steps.push({
        phase: "a",
        layer: l,
        math: `a^${l} = g(z^${l})`,
        text: `Layer ${l} is ${activations[l - 1]}: \`g(z_j) = ${g[l - 1]}\`.`,
      });
    }
    steps.push({
      phase: "cost",
      layer: last,
      math: `C = ${cost}`,
      text: `The cost, ${loss}, compares the outputs with the targets y.`,
    });
    for (let l = last; l >= 1; l--) {
      const name = activations[l - 1];
      const output = l === last;
      steps.push({
        phase: "dCda",
        layer: l,
        math: output ? `∂C/∂a_j = ${dCda}` : `∂C/∂a^${l} = (W^${l + 1})ᵀ δ^${l + 1}`,
        text: output
          ? "Backward. How the cost changes with each output."
          : `Errors go back through the weights they came by: \`∂C/∂a_j = Σ_q w_qj δ_q\`, over the neurons q of layer ${l + 1}.`,
      });
      steps.push(
        name === "softmax"
          ? {
              phase: "delta",
              layer: l,
              math: "δ_j = Σ_i ∂C/∂a_i · ∂a_i/∂z_j",
              text: fused
                ? `With softmax \`z_j\` moves every output; with this cost the sum is \`${fused}\`.`
                : "With softmax `z_j` moves every output, so its error is a sum over them.",
            }
          : {
              phase: "delta",
              layer: l,
              math: `δ^${l} = ∂C/∂a^${l} ⊙ g'(z^${l})`,
              text: `The error of layer ${l}: that, times the slope of ${name}, \`g'(z_j) = ${slope[l - 1]}\`.`,
            },
      );
      steps.push({
        phase: "gradient",
        layer: l,
        math: `∇W^${l} = δ^${l} (a^${l - 1})ᵀ${data.bias ? `,  ∇b^${l} = δ^${l}` : ""}`,
        text: "A weight's gradient is the error it leads to, times the activation it comes from: `∂C/∂w_jk = δ_j a_k`.",
      });
    }
    steps.push({
      phase: "done",
      layer: 0,
      math: data.bias ? "W^l ← W^l - η ∇W^l,  b^l ← b^l - η ∇b^l" : "W^l ← W^l - η ∇W^l",
      text: "Every gradient is known. Gradient descent takes a step against all of them at once.",
    });
    return steps;
  }

  // What is known after a step: done("a", 2) tells whether a^2 is.
  function known(steps, index) {
    const seen = new Set(steps.slice(0, index + 1).map(({ phase, layer }) => `${phase}${layer}`));
    return (phase, layer) => seen.has(`${phase}${layer}`);
  }

  return { build, known };
})();
