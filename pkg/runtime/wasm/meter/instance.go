package meter

// What an instance takes, in bytes, beside its memory: the engine's own things, and for
// each global, element of a table and element of a segment.
const (
	instanceSize = 32 << 10
	globalSize   = 96
	elementSize  = 64
)

// InstanceSize guesses on the high side what each instance of a metered module takes
// beside its linear memory.
func InstanceSize(metered []byte) int64 {
	size := int64(instanceSize)
	r := &reader{b: metered, off: 8}
	for r.ok() && r.left() > 0 {
		id := r.u8()
		c := &reader{b: r.bytes(r.u32())}
		switch id {
		case secTable:
			for range c.u32() {
				c.u8()
				_, hi, _ := limits(c, maxTable)
				size += elementSize * int64(hi)
			}
		case secGlobal:
			size += globalSize * int64(c.u32())
		case secElement:
			// An element has a byte at least.
			size += elementSize / 4 * int64(c.left())
		}
	}
	return size
}
