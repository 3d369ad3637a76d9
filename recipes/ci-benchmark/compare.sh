#!/usr/bin/env bash
# Did a change make packages slower? Exit code 7 if so. Usage: compare.sh OLD NEW DIRECTORY [FLAGS OF compare]
# OLD and NEW are two installed `ovconvert`, of before and after the change; DIRECTORY must not exist yet.
set -euo pipefail
old=$1 new=$2 work=$3
shift 3

mkdir -p "$work"
"$new" make-checkpoint --family indextts2 --size tiny --seed 1 "$work/checkpoint"
"$old" export --split -m "$work/checkpoint" "$work/old"
"$new" export --split -m "$work/checkpoint" "$work/new"
# One thread: nobody waits in a loop, so CPU seconds and instructions count the work alone.
"$new" compare "$work/old" "$work/new" --fail-over 5% --rounds 40 --max-rounds 400 \
    --metrics 'end to end:*' --metrics 'process:peak RSS' --metrics 'package:size on disk' \
    --voice "$work/checkpoint/voices/sample.wav" --text "Good morning." \
    --threads 1 --num-beams 1 --steps 4 --max-new-tokens 32 --no-new-voice --no-components --loads 0 \
    --report "$work/compare.md" --report "$work/compare.xml" --keep "$work/reports" "$@"
