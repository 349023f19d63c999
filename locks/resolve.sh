#!/usr/bin/env bash
# Resolves pyproject.toml into the four lock files, one set of versions for all of them. Versions that are locked stay,
# unless asked otherwise: locks/resolve.sh --upgrade, or --upgrade-package NAME.
set -euo pipefail
cd "$(dirname "$0")/.."
all=$(mktemp)
cp locks/test.lock "$all"
more=("$@")
trap 'rm -f "$all"' EXIT
resolve() {
    .venv/bin/uv pip compile pyproject.toml --quiet "${more[@]}" --universal --python-version 3.11 --generate-hashes \
        --no-annotate --override locks/not-torch.txt --custom-compile-command 'make lock' "$@"
}
resolve --extra train --extra test locks/torch-needs.in --output-file "$all" > /dev/null
resolve --constraints "$all" --output-file locks/base.lock > /dev/null
resolve --extra train locks/torch-needs.in --constraints "$all" --output-file locks/train.lock > /dev/null
.venv/bin/uv pip compile - <<< bitsandbytes --quiet --no-deps --generate-hashes --no-annotate --constraints "$all" \
    --custom-compile-command 'make lock' --output-file locks/gpu.lock > /dev/null
resolve --extra train --extra test locks/torch-needs.in --constraints "$all" --output-file locks/test.lock > /dev/null
