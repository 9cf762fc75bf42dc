"""Files of networks and of runs: safetensors, verified when read and replaced in one step."""
