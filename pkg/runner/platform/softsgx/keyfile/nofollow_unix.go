//go:build unix

package keyfile

import "syscall"

// openNoFollow keeps a planted link from choosing the file, and a FIFO from
// blocking.
const openNoFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
