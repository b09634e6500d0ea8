# Phi-2: 32 layers. See common.sh for the steps.
NAME=phi-2
BASE="${BASE:-microsoft/phi-2}"
TEMPLATE=""
BOUNDARIES="${BOUNDARIES:-15,20}"  # half and two thirds of the layers
. "$(dirname "$0")/common.sh"
