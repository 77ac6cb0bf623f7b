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

	MOVQ	$1, ·received+0(SB)
	ADDQ	$32, SP
	XORL	DX, DX		// no function to be called at the exit
	JMP	_rt0_amd64_linux(SB)
