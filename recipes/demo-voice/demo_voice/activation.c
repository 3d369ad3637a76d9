/* The alias-free snake of ovconvert/networks/bigvgan.py and its gradient, row by row, in one pass through memory.

   A row is one channel of one item: `time` samples. It is doubled into even samples E and odd samples O (six taps each),
   the snake v + inverse sin(alpha v)^2 acts on both, and six taps of each make a sample again. Ends repeat. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TAPS = 6, PAD = 3 };

/* Write E and O (time each) of a row; `padded` is room for time + 2 PAD. */
static void doubled(const float *restrict x, long time, const float *restrict up, float *restrict padded, float *restrict even,
                    float *restrict odd)
{
    memcpy(padded + PAD, x, time * sizeof(float));
    for (int i = 0; i < PAD; i++) {
        padded[i] = x[0];
        padded[PAD + time + i] = x[time - 1];
    }
    for (long t = 0; t < time; t++) {
        float e = 0, o = 0;
        for (int i = 0; i < TAPS; i++) {
            e += 2 * up[11 - 2 * i] * padded[t + i];
            o += 2 * up[10 - 2 * i] * padded[t + 1 + i];
        }
        even[t] = e;
        odd[t] = o;
    }
}

static void doubled_back(const float *restrict even, const float *restrict odd, long count, const float *restrict up,
                         float *restrict padded)
{
    for (long j = 0; j < count; j++) {
        float sum = 0;
        for (int i = 0; i < TAPS; i++)
            sum += 2 * up[11 - 2 * i] * even[j - i] + 2 * up[10 - 2 * i] * odd[j - 1 - i];
        padded[j] = sum;
    }
}

static void halved(const float *restrict even, const float *restrict odd, long time, const float *restrict down,
                   float *restrict y)
{
    for (long t = 0; t < time; t++) {
        float sum = 0;
        for (int i = 0; i < TAPS; i++)
            sum += down[2 * i + 1] * even[t + 1 + i] + down[2 * i] * odd[t + i];
        y[t] = sum;
    }
}

static void halved_back(const float *restrict grad, long count, const float *restrict down, float *restrict even,
                        float *restrict odd)
{
    for (long k = 0; k < count; k++) {
        float e = 0, o = 0;
        for (int i = 0; i < TAPS; i++) {
            e += down[2 * i + 1] * grad[k - 1 - i];
            o += down[2 * i] * grad[k - i];
        }
        even[k] = e;
        odd[k] = o;
    }
}

/* sin and cos of an angle less a multiple of pi: both change sign together, so that squares and products are right. */
static inline void turn(float angle, float *sine, float *cosine)
{
    float count = nearbyintf(angle * 0.318309886f);
    float r = (angle - count * 3.140625f) - count * 9.67653590e-4f, q = r * r;
    *sine = r * (1 + q * (-1.66666667e-1f + q * (8.3333310e-3f + q * (-1.98408743e-4f + q * 2.7525562e-6f - q * q * 2.3889859e-8f))));
    *cosine = 1 + q * (-0.5f + q * (4.16666418e-2f + q * (-1.38883968e-3f + q * (2.47602e-5f - q * 2.605e-7f))));
}

static void snake(const float *restrict in, long time, float alpha, float inverse, float *restrict out)
{
    for (long t = 0; t < time; t++) {
        float sine, cosine;
        turn(alpha * in[t], &sine, &cosine);
        out[t] = in[t] + inverse * sine * sine;
    }
}

/* Turn the gradient of the snake's output into that of its input; add to those of alpha and inverse. */
static void snake_back(const float *restrict in, long time, float alpha, float inverse, float *restrict grad,
                       double *to_alpha, double *to_inverse)
{
    float sum_alpha = 0, sum_inverse = 0;
    for (long t = 0; t < time; t++) {
        float sine, cosine, g = grad[t];
        turn(alpha * in[t], &sine, &cosine);
        float slope = 2 * inverse * sine * cosine;
        sum_alpha += g * in[t] * slope;
        sum_inverse += g * sine * sine;
        grad[t] = g * (1 + alpha * slope);
    }
    *to_alpha += sum_alpha;
    *to_inverse += sum_inverse;
}

/* x and y are (items, channels, time), alpha and inverse (channels), up and down 12 taps. */
void forward(const float *x, const float *alpha, const float *inverse, const float *up, const float *down,
             long items, long channels, long time, float *y)
{
    long wide = time + 2 * PAD;
    float *room = malloc(5 * wide * sizeof(float));
    float *padded = room, *even = room + wide, *odd = room + 2 * wide, *left = room + 3 * wide, *right = room + 4 * wide;
    for (long row = 0; row < items * channels; row++) {
        long c = row % channels;
        doubled(x + row * time, time, up, padded, even, odd);
        snake(even, time, alpha[c], inverse[c], left + PAD);
        snake(odd, time, alpha[c], inverse[c], right + PAD);
        for (int i = 0; i < PAD; i++) {
            left[i] = right[i] = left[PAD];
            left[PAD + time + i] = right[PAD + time + i] = right[PAD + time - 1];
        }
        halved(left, right, time, down, y + row * time);
    }
    free(room);
}

/* From the gradient of y to those of x, alpha and inverse; the last two are added to. */
void backward(const float *x, const float *alpha, const float *inverse, const float *up, const float *down,
              const float *grad_y, long items, long channels, long time, float *grad_x, double *to_alpha, double *to_inverse)
{
    long wide = time + 4 * TAPS;
    float *room = calloc(6 * wide, sizeof(float));
    float *padded = room, *even = room + wide, *odd = room + 2 * wide;
    /* gradients with TAPS zeros before and after them */
    float *outer = room + 3 * wide, *left = room + 4 * wide, *right = room + 5 * wide;
    for (long row = 0; row < items * channels; row++) {
        long c = row % channels;
        doubled(x + row * time, time, up, padded, even, odd);
        memset(outer, 0, wide * sizeof(float));
        memcpy(outer + TAPS, grad_y + row * time, time * sizeof(float));
        /* left[TAPS - PAD + k] is the gradient of the padded even sample k of `forward` */
        float *l = left + TAPS - PAD, *r = right + TAPS - PAD;
        halved_back(outer + TAPS, time + 2 * PAD, down, l, r);
        for (int i = 0; i < PAD; i++) {
            l[PAD] += l[i] + r[i];
            r[PAD + time - 1] += l[PAD + time + i] + r[PAD + time + i];
            l[i] = r[i] = l[PAD + time + i] = r[PAD + time + i] = 0;
        }
        snake_back(even, time, alpha[c], inverse[c], left + TAPS, to_alpha + c, to_inverse + c);
        snake_back(odd, time, alpha[c], inverse[c], right + TAPS, to_alpha + c, to_inverse + c);
        memset(left, 0, TAPS * sizeof(float));
        memset(right, 0, TAPS * sizeof(float));
        memset(left + TAPS + time, 0, TAPS * sizeof(float));
        memset(right + TAPS + time, 0, TAPS * sizeof(float));
        doubled_back(left + TAPS, right + TAPS, time + 2 * PAD, up, padded);
        for (int i = 0; i < PAD; i++) {
            padded[PAD] += padded[i];
            padded[PAD + time - 1] += padded[PAD + time + i];
        }
        memcpy(grad_x + row * time, padded + PAD, time * sizeof(float));
    }
    free(room);
}
