#include "go_asm.h"
#include "textflag.h"

// ipcctl_entry: see received in inherit.go. The kernel jumps here, with argc, argv and the environment on the stack.
// The stack below them is free, and all but the stack pointer may be changed.
TEXT ipcctl_entry(SB), NOSPLIT|NOFRAME, $0
	SUB	$32, RSP	// a struct sigaction of the kernel's
	MOVD	ZR, R19		// the signals that are ignored
	MOVD	$64, R20	// a signal; its bit is that of its number less one
next:
	LSL	$1, R19
	MOVD	R20, R0		// rt_sigaction(R20, NULL, RSP, 8)
	MOVD	ZR, R1
	MOVD	RSP, R2
	MOVD	$8, R3
	MOVD	$134, R8
	SVC
	MOVD	0(RSP), R4
	CMP	$1, R4		// SIG_IGN
	BNE	other
	ORR	$1, R19
other:
	SUB	$1, R20
	CBNZ	R20, next
	MOVD	R19, ·received+8(SB)

	MOVD	ZR, R0		// rt_sigprocmask(SIG_BLOCK, NULL, &received.blocked, 8)
	MOVD	ZR, R1
	MOVD	$·received+16(SB), R2
	MOVD	$8, R3
	MOVD	$135, R8
	SVC

	MOVD	$30, R0		// prctl(PR_GET_TIMERSLACK)
	MOVD	$167, R8
	SVC
	MOVD	R0, ·received+24(SB)

	MOVD	$29, R0		// prctl(PR_SET_TIMERSLACK, slack)
	MOVD	$const_slack, R1
	MOVD	$167, R8
	SVC

	MOVD	$1, R4
	MOVD	R4, ·received+0(SB)
	ADD	$32, RSP

	// GOMAXPROCS=01 becomes the last of the environment (see inherit.go), twice, to keep the stack aligned. What is below the
	// end of the environment moves down.
	MOVD	RSP, R5
	MOVD	0(R5), R6	// argc
	ADD	$16, R5, R7	// becomes the end of the environment
	ADD	R6<<3, R7, R7
end:
	MOVD	0(R7), R4
	CBZ	R4, found
	ADD	$8, R7
	B	end
found:
	SUB	$16, RSP
	MOVD	RSP, R8
down:
	MOVD	0(R5), R4
	MOVD	R4, 0(R8)
	ADD	$8, R5
	ADD	$8, R8
	CMP	R5, R7
	BNE	down
	MOVD	$oneProcessor<>(SB), R4
	MOVD	R4, 0(R8)
	MOVD	R4, 8(R8)

	B	_rt0_arm64_linux(SB)

DATA	oneProcessor<>+0(SB)/8, $"GOMAXPRO"
DATA	oneProcessor<>+8(SB)/8, $"CS=01\x00\x00\x00"
GLOBL	oneProcessor<>(SB), RODATA, $16
