/* A tanh RNN as a command: requests on standard input, answers on standard output. See docs/command-backend.md.

       cc -O2 -o rnn rnn.c -lm && rnn-conformance run --backend "command:./rnn"

   float, one direction, any number of layers, input (steps, batch, features). Headers and requests are searched for the
   few fields that matter; a kernel of yours may use a JSON library. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char error[512]; /* what the answer to a request will say; empty where all is well */

static void fail(const char *form, ...) {
    va_list arguments;
    va_start(arguments, form);
    if (error[0] == 0)
        vsnprintf(error, sizeof error, form, arguments);
    va_end(arguments);
}

/* ---- JSON: where the value of a field stands in a text, or NULL ---- */

static const char *field(const char *text, const char *name) {
    char quoted[128];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = text == NULL ? NULL : strstr(text, quoted);
    if (at == NULL)
        return NULL;
    at += strlen(quoted);
    return at + strspn(at, " ");
}

static long number(const char *text, const char *name) {
    const char *at = field(text, name);
    return at == NULL ? 0 : strtol(at, NULL, 10);
}

static int is(const char *text, const char *name, const char *value) {
    const char *at = field(text, name);
    return at != NULL && strncmp(at, value, strlen(value)) == 0;
}

/* A string field, copied; the files' names hold nothing that JSON escapes. */
static char *string(const char *text, const char *name) {
    const char *at = field(text, name);
    const char *end = at == NULL || *at != '"' ? NULL : strchr(at + 1, '"');
    return end == NULL ? NULL : strndup(at + 1, end - at - 1);
}

/* ---- safetensors: 8 bytes of the header's length, a JSON header, data ---- */

typedef struct {
    char *header, *data;
    size_t size;
} File;

static File read_file(const char *path) {
    File file = {0};
    uint64_t length = 0;
    FILE *stream = path == NULL ? NULL : fopen(path, "rb");
    if (stream == NULL || fread(&length, 8, 1, stream) != 1) {
        fail("the inputs cannot be read");
    } else {
        fseek(stream, 0, SEEK_END);
        file.size = ftell(stream) - 8 - length;
        fseek(stream, 8, SEEK_SET);
        file.header = calloc(length + 1, 1);
        file.data = calloc(file.size + 1, 1);
        if (fread(file.header, 1, length, stream) != length || fread(file.data, 1, file.size, stream) != file.size)
            fail("the inputs are cut short");
    }
    if (stream != NULL)
        fclose(stream);
    return file;
}

/* A float array of this shape; a size of -1 is filled in. NULL, and a failure, for anything else. */
static const float *array(File file, const char *name, int axes, long *shape) {
    const char *entry = field(file.header, name), *at = field(entry, "shape");
    if (entry == NULL || at == NULL || !is(entry, "dtype", "\"F32\"")) {
        fail("%s is missing or not float32", name);
        return NULL;
    }
    for (int k = 0; k < axes; k++) {
        char *end;
        long size = strtol(at + 1, &end, 10);
        if (end == at + 1 || (shape[k] >= 0 && size != shape[k])) {
            fail("axis %d of %s is not as it should be", k, name);
            return NULL;
        }
        shape[k] = size;
        at = end + strspn(end, " ");
    }
    if (*at != ']') {
        fail("%s has too many axes", name);
        return NULL;
    }
    const char *offsets = field(entry, "data_offsets");
    return offsets == NULL ? NULL : (const float *)(file.data + strtol(offsets + 1, NULL, 10));
}

static void write_results(const char *path, long steps, long batch, long hidden, long layers, const float *output,
                          const float *h_n) {
    char header[512];
    long middle = 4 * steps * batch * hidden, end = middle + 4 * layers * batch * hidden;
    int length = snprintf(header, sizeof header,
                          "{\"output\":{\"dtype\":\"F32\",\"shape\":[%ld,%ld,%ld],\"data_offsets\":[0,%ld]},"
                          "\"h_n\":{\"dtype\":\"F32\",\"shape\":[%ld,%ld,%ld],\"data_offsets\":[%ld,%ld]}}",
                          steps, batch, hidden, middle, layers, batch, hidden, middle, end);
    uint64_t size = length;
    FILE *stream = path == NULL ? NULL : fopen(path, "wb");
    if (stream == NULL) {
        fail("the outputs cannot be written");
        return;
    }
    fwrite(&size, 8, 1, stream);
    fwrite(header, 1, length, stream);
    fwrite(output, 4, steps * batch * hidden, stream);
    fwrite(h_n, 4, layers * batch * hidden, stream);
    fclose(stream);
}

/* ---- the kernel ---- */

static float dot(const float *a, const float *b, long n) {
    float sum = 0.0f;
    for (long k = 0; k < n; k++)
        sum += a[k] * b[k];
    return sum;
}

/* One layer over all steps: x is (steps, batch, inputs), output (steps, batch, hidden), h (batch, hidden) the state. */
static void layer(long steps, long batch, long inputs, long hidden, const float *x, const float *w_ih,
                  const float *w_hh, const float *b_ih, const float *b_hh, float *h, float *output) {
    for (long t = 0; t < steps; t++)
        for (long row = 0; row < batch; row++) {
            const float *x_t = x + (t * batch + row) * inputs;
            float *new_h = output + (t * batch + row) * hidden;
            for (long k = 0; k < hidden; k++) {
                float bias = b_ih == NULL ? 0.0f : b_ih[k] + b_hh[k];
                new_h[k] = tanhf(dot(w_ih + k * inputs, x_t, inputs) + dot(w_hh + k * hidden, h + row * hidden, hidden) + bias);
            }
            memcpy(h + row * hidden, new_h, hidden * sizeof(float));
        }
}

static const float *weight(File file, const char *name, int layer, int axes, long rows, long columns) {
    char full[64];
    long shape[2] = {rows, columns};
    snprintf(full, sizeof full, "%s_l%d", name, layer);
    return array(file, full, axes, shape);
}

static void forward(const char *request) {
    long layers = number(request, "num_layers"), inputs = number(request, "input_size");
    long hidden = number(request, "hidden_size"), biased = is(request, "bias", "true");
    char *from = string(request, "inputs"), *to = string(request, "outputs");
    File file = read_file(from);
    long size[3] = {-1, -1, inputs};
    const float *x = array(file, "input", 3, size);
    long steps = size[0], batch = size[1], state_size[3] = {layers, batch, hidden};
    const float *h_0 = field(file.header, "h_0") == NULL ? NULL : array(file, "h_0", 3, state_size);
    if (field(file.header, "c_0") != NULL || field(file.header, "lengths") != NULL)
        fail("an RNN takes neither c_0 nor, here, lengths");
    if (error[0] == 0 && steps == 0)
        fail("there is no step");
    if (error[0] == 0) {
        float *h_n = calloc(layers * batch * hidden + 1, sizeof(float));
        float *output[2] = {calloc(steps * batch * hidden + 1, sizeof(float)), calloc(steps * batch * hidden + 1, sizeof(float))};
        if (h_0 != NULL)
            memcpy(h_n, h_0, layers * batch * hidden * sizeof(float));
        for (int k = 0; k < layers && error[0] == 0; k++) {
            const float *w_ih = weight(file, "weight_ih", k, 2, hidden, inputs);
            const float *w_hh = weight(file, "weight_hh", k, 2, hidden, hidden);
            const float *b_ih = biased ? weight(file, "bias_ih", k, 1, hidden, 0) : NULL;
            const float *b_hh = biased ? weight(file, "bias_hh", k, 1, hidden, 0) : NULL;
            if (error[0] == 0)
                layer(steps, batch, inputs, hidden, x, w_ih, w_hh, b_ih, b_hh, h_n + k * batch * hidden, output[k % 2]);
            x = output[k % 2];
            inputs = hidden;
        }
        if (error[0] == 0)
            write_results(to, steps, batch, hidden, layers, output[(layers - 1) % 2], h_n);
        free(h_n), free(output[0]), free(output[1]);
    }
    free(file.header), free(file.data), free(from), free(to);
}

/* Why a config is not offered, or NULL. */
static const char *refusal(const char *request) {
    if (!is(request, "cell", "\"rnn_tanh\"") || !is(request, "dtype", "\"float32\""))
        return "only a float32 RNN with tanh is offered";
    if (is(request, "bidirectional", "true"))
        return "two directions are not offered";
    if (is(request, "batch_first", "true"))
        return "batch_first is not offered";
    if (number(request, "hidden_size") < 1 || number(request, "num_layers") < 1 || number(request, "proj_size"))
        return "there is no such RNN";
    return NULL;
}

int main(void) {
    char *request = NULL;
    size_t room = 0;
    while (getline(&request, &room, stdin) > 0) {
        const char *reason = refusal(request);
        error[0] = 0;
        if (is(request, "op", "\"describe\"")) {
            puts("{\"version\": \"1.0\", \"policy\": {\"lengths\": false, \"unbatched\": false}}");
        } else if (is(request, "op", "\"supports\"")) {
            printf(reason == NULL ? "{}\n" : "{\"reason\": \"%s\"}\n", reason);
        } else {
            if (reason != NULL)
                fail("%s", reason);
            else
                forward(request);
            printf(error[0] == 0 ? "{}\n" : "{\"error\": \"%s\"}\n", error);
        }
        fflush(stdout);
    }
    free(request);
    return 0;
}
