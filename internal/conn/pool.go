package conn

import "math/bits"

// A pool keeps buffers that are empty now, by their size: what is taken from it fits what it is for, and what grows goes on in a larger
// one and leaves its own to others. Only the loop uses it.
type pool struct {
	free  [classes][][]byte
	bytes int // in all
	least int // of bytes, since trim was called last
	made  int // bytes that were asked for and not there, since the beginning
}

const (
	// newBuffer is the size of the smallest buffers, and sizes is how many there are from one size to twice as much: a buffer is at
	// most a quarter larger than it has to be.
	newBuffer = 1 << 10
	sizes     = 4
	classes   = 11*sizes + 1
	// LargestKept is the size of the largest buffer that is worth being kept, beside what a message of a mebibyte needs around it.
	LargestKept = newBuffer << (classes / sizes)
	// mostKeptFree is in all. What is not needed of it is given back: see trim.
	mostKeptFree = 8 << 20
)

// classOf is the first class of buffers that have so many bytes.
func classOf(n int) int {
	if n <= newBuffer {
		return 0
	}
	high := bits.Len(uint(n - 1))
	return sizes*(high-bits.Len(newBuffer)) + (n-1)>>(high-3)&(sizes-1) + 1
}

// sizeOf is the size of the buffers of a class.
func sizeOf(class int) int { return newBuffer / sizes * (sizes + class%sizes) << (class / sizes) }

// get returns an empty buffer with room for so many bytes at least.
func (p *pool) get(n int) []byte {
	class := classOf(n)
	if class >= classes {
		p.made += n
		return make([]byte, 0, n)
	}
	free := p.free[class]
	if len(free) == 0 {
		p.made += sizeOf(class)
		return make([]byte, 0, sizeOf(class))
	}
	b := free[len(free)-1]
	free[len(free)-1] = nil
	p.free[class] = free[:len(free)-1]
	p.bytes -= cap(b)
	p.least = min(p.least, p.bytes)
	return b
}

// put takes a buffer back.
func (p *pool) put(b []byte) {
	if cap(b) < newBuffer || cap(b) > LargestKept || p.bytes+cap(b) > mostKeptFree {
		return
	}
	class := classOf(cap(b))
	if sizeOf(class) > cap(b) { // it did not come from here
		class--
	}
	p.free[class] = append(p.free[class], b[:0])
	p.bytes += cap(b)
}

// append is append to a buffer of the pool's, or to none.
func (p *pool) append(b, more []byte) []byte {
	if len(more) > cap(b)-len(b) {
		b = p.grow(b, len(more))
	}
	return append(b, more...)
}

// grow moves what is in a buffer to one that is twice as large, and has room for so many bytes more at least.
func (p *pool) grow(b []byte, more int) []byte {
	larger := append(p.get(max(len(b)+more, 2*cap(b))), b...)
	p.put(b)
	return larger
}

// roomy is how large the buffer is that get returns.
func roomy(n int) int {
	if class := classOf(n); class < classes {
		return sizeOf(class)
	}
	return n
}

// trim gives up what nobody has needed since it was called last.
func (p *pool) trim() {
	for class := classes - 1; class >= 0 && p.least > 0; class-- {
		free := p.free[class]
		for len(free) > 0 && p.least > 0 {
			last := len(free) - 1
			p.bytes -= cap(free[last])
			p.least -= cap(free[last])
			free[last], free = nil, free[:last]
		}
		if p.free[class] = free; len(free) == 0 {
			p.free[class] = nil
		}
	}
	p.least = p.bytes
}
