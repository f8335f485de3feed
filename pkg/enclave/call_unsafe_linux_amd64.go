package enclave

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"github.com/enclaveos/eos/pkg/sgx"
)

// System calls of the kernel inside an enclave (pkg/runtime/kernel, call.go). Linux
// has none of these numbers.
const (
	callPresent   = 9000
	callReport    = 9001
	callKey       = 9002
	callStatistic = 9003
	callPayload   = 9005
)

// kernel is the processor behind the kernel's calls.
type kernel struct{}

func (kernel) present() bool {
	// The result is the version of the calls; a later one keeps these.
	v, _, errno := syscall.RawSyscall(callPresent, 0, 0, 0)
	return errno == 0 && v >= 1
}

func (k kernel) report(target *[sgx.TargetInfoSize]byte, data *[sgx.ReportDataSize]byte) (r [sgx.ReportSize]byte, err error) {
	if !k.present() {
		return r, ErrNotEnclave
	}
	_, _, errno := syscall.RawSyscall(callReport,
		uintptr(unsafe.Pointer(target)), uintptr(unsafe.Pointer(data)), uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return r, fmt.Errorf("EREPORT: the processor refuses the target: %w", errno)
	}
	return r, nil
}

func (k kernel) key(request *[sgx.KeyRequestSize]byte) (v [16]byte, err error) {
	if !k.present() {
		return v, ErrNotEnclave
	}
	code, _, errno := syscall.RawSyscall(callKey, uintptr(unsafe.Pointer(request)), uintptr(unsafe.Pointer(&v)), 0)
	switch {
	case errno != 0:
		return v, fmt.Errorf("EGETKEY: the processor refuses the request: %w", errno)
	case code != 0:
		return v, sgx.ErrorCode(code)
	}
	return v, nil
}

func (k kernel) statistic(n statistic) (uint64, error) {
	if !k.present() {
		return 0, ErrNotEnclave
	}
	v, _, errno := syscall.RawSyscall(callStatistic, uintptr(n), 0, 0)
	if errno != 0 {
		return 0, fmt.Errorf("statistic %d: %w", n, errno)
	}
	return uint64(v), nil
}

func (k kernel) payload() ([]byte, error) {
	if !k.present() {
		return nil, ErrNotEnclave
	}
	var at struct {
		bytes *byte
		n     uintptr
	}
	_, _, errno := syscall.RawSyscall(callPayload, uintptr(unsafe.Pointer(&at)), 0, 0)
	switch {
	case errno == syscall.ENOENT, errno == syscall.ENOSYS:
		return nil, ErrNoPayload
	case errno != 0:
		return nil, errors.New("the image takes a payload, and none was appended to it by 'eos build'")
	}
	return unsafe.Slice(at.bytes, at.n), nil
}
