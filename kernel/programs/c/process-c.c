/* A program in C: floating point in vector registers, calls on the way, and a walk that is recursive. */

#include <stdint.h>

enum { CALL_YIELD = 5, CALL_CLOCK = 12, CALL_NOTHING = 14 };

enum { SIZE = 12, DEPTH = 9 };

static uint64_t call(uint64_t number, uint64_t first)
{
	uint64_t result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(0), "d"(0)
			 : "rcx", "r11", "memory");
	return result;
}

struct matrix {
	double at[SIZE][SIZE];
};

__attribute__((noinline)) static void multiply(struct matrix *to, const struct matrix *a,
					       const struct matrix *b)
{
	for (int row = 0; row < SIZE; row++)
		for (int column = 0; column < SIZE; column++) {
			double sum = 0;

			for (int i = 0; i < SIZE; i++)
				sum += a->at[row][i] * b->at[i][column];
			to->at[row][column] = sum;
		}
}

/* The root of a number, by Newton's method, with a call between its steps. */
__attribute__((noinline)) static double root(double of)
{
	double guess = of;

	for (int step = 0; step < 8; step++) {
		guess = (guess + of / guess) / 2;
		if (call(step % 2 ? CALL_YIELD : CALL_NOTHING, 0) != 0)
			return 0;
	}
	return guess;
}

__attribute__((noinline)) static uint64_t walk(unsigned depth)
{
	if (depth == 0)
		return 1;
	return walk(depth - 1) + walk(depth / 2);
}

uint64_t c_main(uint64_t argument)
{
	static struct matrix power, factor, product;
	uint64_t failed = 0;
	double found;

	for (int i = 0; i < SIZE; i++) {
		factor.at[i][i] = 2;
		power.at[i][i] = 1;
	}
	for (int round = 0; round < 4; round++) {
		multiply(&product, &power, &factor);
		power = product;
	}
	for (int i = 0; i < SIZE; i++)
		failed += power.at[i][i] != 16;
	found = root(2 + (double)argument);
	failed += !(found * found > 1.999999 && found * found < 2.000001);
	failed += walk(DEPTH) == 0;
	failed += call(CALL_CLOCK, 0) == 0;
	return failed;
}
