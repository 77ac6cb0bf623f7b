#include "go_asm.h"
#include "textflag.h"

// ipcctl_entry: see received in inherit.go. The kernel jumps here, with argc, argv and the environment on the stack.
// The stack below them is free, and all but the stack pointer may be changed.
TEXT ipcctl_entry(SB), NOSPLIT|NOFRAME, $0
	SUBQ	$32, SP		// a struct sigaction of the kernel's
	XORL	R12, R12	// the signals that are ignored
	MOVL	$64, BX		// a signal; its bit is that of its number less one
next:
	SHLQ	$1, R12
	MOVL	$13, AX		// rt_sigaction(BX, NULL, SP, 8)
	MOVQ	BX, DI
	XORL	SI, SI
	MOVQ	SP, DX
	MOVL	$8, R10
	SYSCALL
	CMPQ	0(SP), $1	// SIG_IGN
	JNE	other
	ORQ	$1, R12
other:
	DECL	BX
	JNZ	next
	MOVQ	R12, ·received+8(SB)

	MOVL	$14, AX		// rt_sigprocmask(SIG_BLOCK, NULL, &received.blocked, 8)
	XORL	DI, DI
	XORL	SI, SI
	LEAQ	·received+16(SB), DX
	MOVL	$8, R10
	SYSCALL

	MOVL	$157, AX	// prctl(PR_GET_TIMERSLACK)
	MOVL	$30, DI
	SYSCALL
	MOVQ	AX, ·received+24(SB)

	MOVL	$157, AX	// prctl(PR_SET_TIMERSLACK, slack)
	MOVL	$29, DI
	MOVL	$const_slack, SI
	SYSCALL

	MOVQ	$1, ·received+0(SB)
	ADDQ	$32, SP

	// GOMAXPROCS=01 becomes the last of the environment (see inherit.go), twice, to keep the stack aligned. What is below the
	// end of the environment moves down.
	MOVQ	0(SP), DI	// argc; DI becomes the end of the environment
	LEAQ	16(SP)(DI*8), DI
end:
	CMPQ	0(DI), $0
	JEQ	found
	ADDQ	$8, DI
	JMP	end
found:
	MOVQ	SP, SI
	SUBQ	$16, SP
	MOVQ	SP, DX
down:
	MOVQ	0(SI), AX
	MOVQ	AX, 0(DX)
	ADDQ	$8, SI
	ADDQ	$8, DX
	CMPQ	SI, DI
	JNE	down
	LEAQ	oneProcessor<>(SB), AX
	MOVQ	AX, 0(DX)
	MOVQ	AX, 8(DX)

	XORL	DX, DX		// no function to be called at the exit
	JMP	_rt0_amd64_linux(SB)

DATA	oneProcessor<>+0(SB)/8, $"GOMAXPRO"
DATA	oneProcessor<>+8(SB)/8, $"CS=01\x00\x00\x00"
GLOBL	oneProcessor<>(SB), RODATA, $16
