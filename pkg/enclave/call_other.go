//go:build !linux || !amd64

package enclave

import "github.com/enclaveos/eos/pkg/sgx"

// kernel is none: a program inside an enclave is one for linux/amd64.
type kernel struct{}

func (kernel) present() bool { return false }

func (kernel) report(*[sgx.TargetInfoSize]byte, *[sgx.ReportDataSize]byte) (r [sgx.ReportSize]byte, err error) {
	return r, ErrNotEnclave
}

func (kernel) key(*[sgx.KeyRequestSize]byte) (v [16]byte, err error) { return v, ErrNotEnclave }

func (kernel) payload() ([]byte, error) { return nil, ErrNotEnclave }

func (kernel) statistic(statistic) (uint64, error) { return 0, ErrNotEnclave }
