/* An LSTM in C: one direction of one layer, float, row-major. Gates are i, f, g, o, as in torch.nn.LSTM. */
#include <math.h>
#include <stdlib.h>

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/* a · b */
static float dot(const float *a, const float *b, long n) {
    float sum = 0.0f;
    for (long k = 0; k < n; k++)
        sum += a[k] * b[k];
    return sum;
}

/* One step of one row: h and c change in place; gates has room for 4 * hidden numbers. */
static void step(long inputs, long hidden, const float *x, const float *w_ih, const float *w_hh, const float *b_ih,
                 const float *b_hh, float *h, float *c, float *gates) {
    for (long k = 0; k < 4 * hidden; k++) {
        gates[k] = dot(w_ih + k * inputs, x, inputs) + dot(w_hh + k * hidden, h, hidden);
        if (b_ih != NULL)
            gates[k] += b_ih[k] + b_hh[k];
    }
    for (long k = 0; k < hidden; k++) {
        float i = sigmoid(gates[k]), f = sigmoid(gates[hidden + k]);
        float g = tanhf(gates[2 * hidden + k]), o = sigmoid(gates[3 * hidden + k]);
        c[k] = f * c[k] + i * g;
        h[k] = o * tanhf(c[k]);
    }
}

/* x is (steps, batch, inputs), h and c are (batch, hidden) and become the final state, and output gets h of each step
   at output[(t * batch + row) * stride]. Biases may be NULL. Returns 0, or 1 where memory is short. */
int lstm_lane(long steps, long batch, long inputs, long hidden, int reverse, const float *x, const float *w_ih,
              const float *w_hh, const float *b_ih, const float *b_hh, float *h, float *c, float *output, long stride) {
    float *gates = malloc(4 * hidden * sizeof(float));
    if (gates == NULL)
        return 1;
    for (long k = 0; k < steps; k++) {
        long t = reverse ? steps - 1 - k : k;
        for (long row = 0; row < batch; row++) {
            float *own_h = h + row * hidden;
            step(inputs, hidden, x + (t * batch + row) * inputs, w_ih, w_hh, b_ih, b_hh, own_h, c + row * hidden, gates);
            for (long j = 0; j < hidden; j++)
                output[(t * batch + row) * stride + j] = own_h[j];
        }
    }
    free(gates);
    return 0;
}
