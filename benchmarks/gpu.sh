#!/usr/bin/env bash
# Checks and figures on one GPU, in three parts of a few minutes each; run from the repository's root:
#
#     bash benchmarks/gpu.sh checks
#     bash benchmarks/gpu.sh models
#     bash benchmarks/gpu.sh train mini-imagenet      # a folder with train.txt, val.txt and test.txt
#
# Beside JAX for GPUs and PyTorch it needs the project's own dependencies. Where pip reaches nothing, bring wheels of
# those that `python -c 'import ...'` misses, usually ml_collections, clu, tensorboardX, protobuf and orbax-checkpoint,
# for `checks` also pytest and hypothesis, and install them by `pip install --no-deps`. `models` needs jax, flax, optax
# and PyTorch alone; no part needs tensorflow-datasets. OUT names the folder for what is written (default: gpu-results).
set -euo pipefail
cd "$(dirname "$0")/.."
part="${1:?checks, models or train}"
results="${OUT:-gpu-results}"
mkdir -p "$results"
export PYTHONPATH="$PWD" XLA_PYTHON_CLIENT_PREALLOCATE=false
python3 -c 'import jax; print("jax", jax.__version__, jax.devices())'

case "$part" in
  checks)
    # What asks nothing of a CPU: layers and networks against their definitions, the step on one device, the counting.
    # conftest.py asks for four CPU devices and no optimisation, which a GPU does not heed. Its products of float32 are
    # TensorFloat-32 unless asked otherwise, too coarse for the tests' tolerances.
    JAX_DEFAULT_MATMUL_PRECISION=float32 python3 -m pytest -p no:cacheprovider tests/models \
      tests/nn tests/training/test_optim.py tests/metrics --override-ini=filterwarnings= 2>&1 | tee "$results/checks.txt"
    python3 -m benchmarks.gpu_checks 2>&1 | tee -a "$results/checks.txt"
    ;;
  models)
    for batch in 128 512 1024; do
      python3 -m benchmarks.models --image_sizes 84 --batches "$batch" --precision bfloat16 --steps 20 --rounds 3 \
        --seconds 0.25 --baselines jax:auto,jax:kernels,pytorch:parallel --networks dynamic_resnet12 \
        --output "$results/dynamic-$batch.json" $([ "$batch" = 128 ] && echo --compiled)
      python3 -m benchmarks.models --image_sizes 84 --batches "$batch" --precision bfloat16 --steps 20 --rounds 3 \
        --seconds 0.25 --networks wide_cnn,resnet34 --output "$results/plain-$batch.json" \
        $([ "$batch" = 128 ] && echo --compiled)
    done 2>&1 | tee "$results/models.txt"
    ;;
  train)
    data="${2:?the folder of images}"
    for task in task_b resnet34; do
      python3 main.py --config "configs/$task.py:mini_imagenet" --config.data.path="$data" --config.train.epochs=3 \
        --config.runtime.data_placement=device --config.runtime.cache="$results/cache" --workdir "$results/runs/$task"
      cat "$results/runs/$task/timings.jsonl"
    done 2>&1 | tee "$results/train.txt"
    ;;
  *) echo "unknown part '$part'. Valid: checks, models, train" >&2; exit 2 ;;
esac
