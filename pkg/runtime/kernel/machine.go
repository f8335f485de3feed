package kernel

// Natively there is no enclave around this package: its tests put one here. In
// an image overlay/machine.go.txt takes the place of this file.
var machine struct {
	ocall      func(kind, a1, a2, a3 uint64) uint64
	threadExit func(kind uint64)
	readTSC    func() uint64
	random     func() (uint64, bool)
	leaf       func(leaf, rbx, rcx, rdx uint64) uint64
	sigreturn  func(unblocked uint64)
	xrstor     func(image uint64)
	setFS      func(base uint64)
	printing   func() bool
	xfrm       uint64
	text       [7]uint64
}

func ocall(kind, a1, a2, a3 uint64) uint64   { return machine.ocall(kind, a1, a2, a3) }
func threadExit(kind uint64)                 { machine.threadExit(kind) }
func readTSC() uint64                        { return machine.readTSC() }
func random() (uint64, bool)                 { return machine.random() }
func leaf(leaf, rbx, rcx, rdx uint64) uint64 { return machine.leaf(leaf, rbx, rcx, rdx) }
func sigreturn(unblocked uint64)             { machine.sigreturn(unblocked) }
func xrstor(image uint64)                    { machine.xrstor(image) }
func setFS(base uint64)                      { machine.setFS(base) }
func xfrm() uint64                           { return machine.xfrm }
func printing() bool                         { return machine.printing() }
func pause()                                 {}
func text() (lo, hi, ret, sigret, tail, enclu, write uint64) {
	return machine.text[0], machine.text[1], machine.text[2], machine.text[3], machine.text[4], machine.text[5], machine.text[6]
}
