# The kernel files, relative to kernels/cuda: for nvcc in the module, for the host's compiler in the
# emulator's library.
set(SEQ1F1B_KERNEL_SOURCES
  activation.cu bias.cu carry.cu cross_entropy.cu embedding.cu movement.cu norm.cu optimizer.cu
  attention/attention_general.cu attention/attention_rows.cu
  attention/attention_sm80_backward_key.cu attention/attention_sm80_backward_query.cu
  attention/attention_sm80_forward.cu
  attention/attention_sm90_backward.cu attention/attention_sm90_backward_keys.cu
  attention/attention_sm90_backward_queries.cu attention/attention_sm90_forward.cu
  attention/cudnn_gradient.cu)
