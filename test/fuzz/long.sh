#!/bin/sh
# npm run fuzz [ROUNDS]: the fuzz tests with as many times the rounds of the suite (50), from a new seed. A failure is
# repeated with FIRSTACK_FUZZ_SEED=SEED npm run fuzz.
set -eu
export FIRSTACK_FUZZ="${1:-50}"
export FIRSTACK_FUZZ_SEED="${FIRSTACK_FUZZ_SEED:-$(date +%s)}"
echo "fuzz: $FIRSTACK_FUZZ times the rounds, FIRSTACK_FUZZ_SEED=$FIRSTACK_FUZZ_SEED"
exec npx vitest run --project unit --testTimeout 86400000 test/fuzz
