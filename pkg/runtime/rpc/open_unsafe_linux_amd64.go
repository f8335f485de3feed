package rpc

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"github.com/enclaveos/eos/pkg/enclave"
)

// path is where the kernel offers the channel (pkg/runtime/kernel, rpcfile.go).
const path = "/dev/eos/rpc"

// callExchange is a system call of the kernel's: it sends whole requests and takes
// one response, if there is one.
const callExchange = 9004

// Open opens the program's channel to its host. There is one: a second Open before
// Close fails. Outside an enclave the error is enclave.ErrNotEnclave.
func Open() (*Client, error) {
	if !enclave.Inside() {
		return nil, enclave.ErrNotEnclave
	}
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errors.Is(err, syscall.EBUSY) {
		return nil, errors.New("rpc: the program has opened its channel already: share the Client")
	}
	if err != nil {
		return nil, fmt.Errorf("rpc: opening %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	return start(&device{f: f, raw: raw, fd: uintptr(fd)}), nil
}

// device is the kernel's descriptor.
type device struct {
	f   *os.File
	raw syscall.RawConn

	using  sync.RWMutex // held for writing to close
	closed bool
	fd     uintptr
}

func (d *device) exchange(request, buf []byte) (int, error) {
	n, errno := d.call(request, buf)
	if errno == syscall.EAGAIN { // no room
		if err := d.raw.Write(func(uintptr) bool {
			n, errno = d.call(request, buf)
			return errno != syscall.EAGAIN
		}); err != nil {
			return 0, fmt.Errorf("rpc: %w", err)
		}
	}
	if errno != 0 {
		return 0, failure(errno)
	}
	return n, nil
}

func (d *device) call(request, buf []byte) (int, syscall.Errno) {
	d.using.RLock()
	defer d.using.RUnlock()
	if d.closed {
		return 0, syscall.EBADF
	}
	n, _, errno := syscall.Syscall6(callExchange, d.fd, uintptr(unsafe.Pointer(unsafe.SliceData(request))), uintptr(len(request)),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
	return int(n), errno
}

// batch is a fraction of the ring.
func (d *device) batch() int { return 64 << 10 }

// poll leaves a response that is larger than buf to receive.
func (d *device) poll(buf []byte) (int, error) {
	n, errno := d.call(nil, buf)
	if errno != 0 {
		return 0, failure(errno)
	}
	return n, nil
}

func (d *device) receive(buf []byte) ([]byte, error) {
	for {
		n, err := d.f.Read(buf)
		switch {
		case errors.Is(err, syscall.EMSGSIZE) && len(buf) < maxMessage:
			buf = make([]byte, maxMessage)
			continue
		case errors.Is(err, syscall.EIO):
			return nil, failure(syscall.EIO)
		case err != nil:
			return nil, fmt.Errorf("rpc: %w", err)
		}
		return buf[:n], nil
	}
}

// failure is the kernel's, which has said on stderr what the host did.
func failure(errno syscall.Errno) error {
	if errno == syscall.EIO {
		return &ProtocolError{"its ring has ended"}
	}
	return fmt.Errorf("rpc: %w", errno)
}

func (d *device) close() error {
	d.using.Lock()
	defer d.using.Unlock()
	d.closed = true
	return d.f.Close()
}
