// Prints llama.cpp's logits at every position of the token ids on standard input, taken as they are: float32,
// [tokens][vocabulary].
//
//     llama_logits MODEL.gguf THREADS <ids >logits
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>

static void quiet(enum ggml_log_level level, const char *text, void *context) {
    (void)context;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static int fail(const char *what) {
    fprintf(stderr, "llama_logits: %s\n", what);
    return 1;
}

int main(int count, char **words) {
    if (count != 3) return fail("usage: llama_logits MODEL.gguf THREADS <ids >logits");
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(words[1], llama_model_default_params());
    if (!model) return fail("cannot load the model");

    enum { most = 4096 };
    struct llama_batch batch = llama_batch_init(most, 0, 1);
    while (batch.n_tokens < most && scanf("%d", &batch.token[batch.n_tokens]) == 1) {
        int i = batch.n_tokens++;
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (!feof(stdin) || batch.n_tokens == 0) return fail("expected 1 to 4096 token ids");

    struct llama_context_params parameters = llama_context_default_params();
    parameters.n_ctx = parameters.n_batch = (uint32_t)batch.n_tokens;
    parameters.n_threads = parameters.n_threads_batch = atoi(words[2]);
    struct llama_context *context = llama_init_from_model(model, parameters);
    if (!context || llama_decode(context, batch) != 0) return fail("cannot compute");

    size_t vocabulary = (size_t)llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int i = 0; i < batch.n_tokens; i++)
        if (fwrite(llama_get_logits_ith(context, i), sizeof(float), vocabulary, stdout) != vocabulary)
            return fail("cannot write");
    if (fflush(stdout) != 0) return fail("cannot write");

    llama_batch_free(batch);
    llama_free(context);
    llama_model_free(model);
    return 0;
}
