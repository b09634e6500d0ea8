# Llama-3.1-8B-Instruct: 32 layers. See common.sh for the steps.
NAME=llama-3.1-8b-instruct
BASE="${BASE:-meta-llama/Llama-3.1-8B-Instruct}"
TEMPLATE="--apply_chat_template"
BOUNDARIES="${BOUNDARIES:-15,20}"  # half and two thirds of the layers
. "$(dirname "$0")/common.sh"
