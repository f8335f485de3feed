package kernel

// Sockets and the data channel are not there.

func netPump(t *thread, look bool)                      {}
func sockClose(t *thread, obj uint32)                   {}
func sockDup(obj uint32)                                {}
func sockReady(obj uint32) uint32                       { return 0 }
func sockRead(t *thread, d *fd, p, size uint64) uint64  { return errBadF }
func sockWrite(t *thread, d *fd, p, size uint64) uint64 { return errBadF }

// sockCall answers the system calls that are about sockets. ok is false if the
// call is none of them.
func sockCall(t *thread, f *frame) (r uint64, ok bool) { return 0, false }
