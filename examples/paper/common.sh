# The steps of the paper for one model and one data set. The scripts beside this file set the model
# and read this file:
#
#     bash examples/paper/llama-3.1-8b-instruct.sh STEP DATA
#
# STEP  train, trace, sweep, test, or all (these four); dry-run: print what the sweep would take;
#       sweep-gpus: the sweep on several GPUs; sweep-vllm and test-vllm: with vLLM
# DATA  hotpotqa, gsm8k, samsum, or a language pair of WMT23 such as wmt23_de-en
#
# OUT is the folder to write (paper-runs), GPUS the number of GPUs, SEED the training seed. What is
# in MORE is added to every command, such as "--limit 200".

set -eu
step="${1:?the step: train, trace, sweep, test, all, dry-run, sweep-gpus, sweep-vllm or test-vllm}"
data="${2:?the data set: hotpotqa, gsm8k, samsum, or a pair such as wmt23_de-en}"
task="lora_boundary_$data"
seed="${SEED:-0}"
out="${OUT:-paper-runs}/$NAME/$data/seed=$seed"
program="${LORA_BOUNDARY:-lora-boundary}"
lm_eval="${LM_EVAL:-lm_eval}"
gpus="${GPUS:-2}"

# MORE and TEMPLATE may hold several words, or none
# shellcheck disable=SC2086
run_step() {
  case "$1" in
    # rank 8 on all linear layers, 3 epochs, learning rate 1e-4, 2048 tokens, batches of 16
    train)
      "$program" train --pretrained "$BASE" --task "$task" $TEMPLATE --seed "$seed" \
        --dtype bfloat16 --output "$out/adapter" ${MORE:-} ;;
    trace)
      "$program" trace --pretrained "$BASE" --peft "$out/adapter" --tasks "$task" $TEMPLATE \
        --split validation --limit 200 --dtype bfloat16 --gradient --output "$out/trace" ${MORE:-} ;;
    # every boundary on the validation split; what may be recommended is scored on the test split
    sweep | dry-run)
      dry=""
      [ "$1" = dry-run ] && dry="--dry-run"
      "$program" sweep --pretrained "$BASE" --peft "$out/adapter" --tasks "$task" $TEMPLATE \
        --split validation --limit 500 --dtype bfloat16 --output "$out/sweep" $dry ${MORE:-} ;;
    sweep-gpus)
      accelerate launch --num_processes "$gpus" -m lm_eval_lora_boundary sweep \
        --pretrained "$BASE" --peft "$out/adapter" --tasks "$task" $TEMPLATE \
        --split validation --limit 500 --dtype bfloat16 --output "$out/sweep" ${MORE:-} ;;
    sweep-vllm)
      "$program" sweep --pretrained "$BASE" --peft "$out/adapter" --tasks "$task" $TEMPLATE \
        --split validation --limit 500 --dtype bfloat16 --engine vllm \
        --model-args gpu_memory_utilization=0.9,max_model_len=2560 \
        --output "$out/sweep-vllm" ${MORE:-} ;;
    # the boundary of the paper's rule of thumb beside the two ends, on all test documents
    test)
      "$program" sweep --pretrained "$BASE" --peft "$out/adapter" --tasks "$task,${task}_gold" \
        $TEMPLATE --split test --boundaries "$BOUNDARIES" --dtype bfloat16 \
        --output "$out/test" ${MORE:-} ;;
    test-vllm)
      for boundary in $(echo "$BOUNDARIES" | tr , ' '); do
        "$lm_eval" --model lora_boundary_vllm \
          --model_args "pretrained=$BASE,peft=$out/adapter,boundary=$boundary,dtype=bfloat16" \
          --tasks "$task" $TEMPLATE --log_samples \
          --output_path "$out/test-vllm/boundary=$boundary" ${MORE:-}
      done ;;
    *)
      echo "step $1: expected train, trace, sweep, test, all, dry-run, sweep-gpus," \
        "sweep-vllm or test-vllm" >&2
      exit 2 ;;
  esac
}

if [ "$step" = all ]; then
  for each in train trace sweep test; do run_step "$each"; done
else
  run_step "$step"
fi
