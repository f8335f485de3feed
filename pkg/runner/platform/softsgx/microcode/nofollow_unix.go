//go:build unix

package microcode

import "syscall"

// openNoFollow keeps a planted link from choosing the device, and a FIFO from
// blocking.
const openNoFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
