/* Pushes the 16-bit samples of the file `samples` through an exported model, 100 ms at a time. Prints a line for each 100 ms:
 * the instructions that they took, and the probabilities. The last line is the largest stack. Compiled by ../cortex_m.py, with
 * MODEL as the model's header and push, probabilities, HOP and CLASSES as its names. */
#include MODEL
#include <stdio.h>
#include <string.h>

extern unsigned char data_start[], data_end[], data_load[], __bss_start__[], __bss_end__[], stack_top[];
void initialise_monitor_handles(void);
int main(void);

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define SYSTICK_CONTROL REGISTER(0xE000E010u)
#define SYSTICK_RELOAD REGISTER(0xE000E014u)
#define SYSTICK_VALUE REGISTER(0xE000E018u)
#define FPU_ACCESS REGISTER(0xE000ED88u)
#define LONGEST 0xFFFFFFu
#define INSTRUCTIONS_PER_TICK 40u /* one each nanosecond (-icount shift=0), and a tick each 40 ns (25 MHz) */
#define PAINTED 0x10000u          /* bytes of the stack that are watched */
#define PAINT 0xA5

void reset(void)
{
    FPU_ACCESS |= 0xFu << 20;
    memcpy(data_start, data_load, (size_t)(data_end - data_start));
    memset(__bss_start__, 0, (size_t)(__bss_end__ - __bss_start__));
    initialise_monitor_handles(); /* files of the host */
    _Exit(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {stack_top, (const void *)reset};

/* The stack grows down from here: below is nothing that is in use. Called functions would be, so these two are inlined. */
static inline __attribute__((always_inline)) volatile unsigned char *stack_pointer(void)
{
    volatile unsigned char *top;
    __asm__ volatile("mov %0, sp" : "=r"(top));
    return top;
}

static inline __attribute__((always_inline)) void paint(volatile unsigned char *top)
{
    for (unsigned i = 1; i <= PAINTED; i++)
        top[-(int)i] = PAINT;
}

static unsigned painted_over(const volatile unsigned char *top)
{
    unsigned untouched = 0;
    while (untouched < PAINTED && top[(int)untouched - (int)PAINTED] == PAINT)
        untouched++;
    return PAINTED - untouched;
}

static uint32_t measured_push(const int16_t *samples)
{
    const uint32_t before = SYSTICK_VALUE;
    push(samples, HOP);
    return (before - SYSTICK_VALUE) & LONGEST;
}

int main(void)
{
    static int16_t samples[HOP];
    static float found[CLASSES];
    volatile unsigned char *const top = stack_pointer();
    unsigned stack = 0;
    FILE *file = fopen("samples", "rb");
    if (!file)
        return 1;
    SYSTICK_RELOAD = LONGEST;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 5; /* on, by the processor's clock, without interrupts */
    while (fread(samples, sizeof samples, 1, file)) {
        paint(top);
        const uint32_t ticks = measured_push(samples);
        const unsigned used = painted_over(top);
        probabilities(found);
        stack = used > stack ? used : stack;
        printf("%lu", (unsigned long)(ticks * INSTRUCTIONS_PER_TICK));
        for (int i = 0; i < CLASSES; i++)
            printf(" %.6f", (double)found[i]);
        printf("\n");
    }
    printf("%u\n", stack);
    return 0;
}
