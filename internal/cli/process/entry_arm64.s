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

	MOVD	$1, R4
	MOVD	R4, ·received+0(SB)
	ADD	$32, RSP
	B	_rt0_arm64_linux(SB)
