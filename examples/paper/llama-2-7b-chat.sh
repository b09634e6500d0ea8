# Llama-2-7B-Chat: 32 layers. See common.sh for the steps.
NAME=llama-2-7b-chat
BASE="${BASE:-meta-llama/Llama-2-7b-chat-hf}"
TEMPLATE="--apply_chat_template"
BOUNDARIES="${BOUNDARIES:-15,20}"  # half and two thirds of the layers
. "$(dirname "$0")/common.sh"
