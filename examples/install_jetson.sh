#!/usr/bin/env bash
# Installs Edgewright with TensorRT on a Jetson. Run as root: sudo ./install_jetson.sh [/opt/edgewright]
#
# TensorRT, CUDA and cuDNN come from JetPack by apt, never by pip: the index's packages of that name are placeholders on aarch64. The virtual
# environment sees JetPack's Python modules (--system-site-packages). pycuda is built here against this board's own CUDA: no index has it ready.
set -euo pipefail
target=${1:-/opt/edgewright}

if [ ! -f /etc/nv_tegra_release ]; then
  echo "this is no Jetson: /etc/nv_tegra_release is missing" >&2
  exit 1
fi
apt-get update
apt-get install -y python3-venv python3-dev build-essential nvidia-jetpack python3-libnvinfer

python3 -m venv --system-site-packages "$target"
"$target/bin/python" -m pip install --upgrade pip 'edgewright[images]'

export CUDA_ROOT=${CUDA_ROOT:-/usr/local/cuda}
export PATH="$CUDA_ROOT/bin:$PATH" LIBRARY_PATH="$CUDA_ROOT/lib64:${LIBRARY_PATH:-}"
if [ ! -x "$CUDA_ROOT/bin/nvcc" ]; then
  echo "nvcc is not at $CUDA_ROOT/bin: set CUDA_ROOT to the toolkit's folder" >&2
  exit 1
fi
# The first nvcc on the PATH decides which toolkit pycuda is built against.
"$target/bin/python" -m pip install --no-binary pycuda pycuda

"$target/bin/edgewright" doctor
