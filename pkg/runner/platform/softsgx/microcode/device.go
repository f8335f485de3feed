package microcode

import (
	"fmt"
	"io"

	"github.com/enclaveos/eos/pkg/sgx"
)

// SeedSize is the size of a device's seed in bytes.
const SeedSize = 32

// Device is what differs from one processor to the next: the secrets behind
// all keys, the version of the microcode and the owner's epoch. It is made by
// OpenDevice or NewDevice and does not change; any goroutine may use it. No way of printing it shows a
// secret.
//
// From the seed come, by HKDF-SHA256 with the label as info:
//
//	"eos software sgx: root key"       16  the key of every derivation
//	"eos software sgx: seal fuses"     16  SEAL_KEY_FUSES
//	"eos software sgx: report key id"  32  KEYID of every REPORT
type Device struct {
	// LaunchSigner is IA32_SGXLEPUBKEYHASH: the MRSIGNER whose enclaves may
	// have EINITTOKENKEY. Zero is nobody. It is set, if at all, before use.
	LaunchSigner sgx.Measurement

	cpuSVN     [16]byte
	ownerEpoch [16]byte
	// A function, because fmt prints what is behind pointers and inside
	// structs without asking their methods when a field is not exported.
	secrets func() *deviceSecrets
}

// deviceSecrets is what is derived from the seed.
type deviceSecrets struct {
	rootKey     [16]byte
	sealFuses   [16]byte
	reportKeyID [32]byte // not secret: every REPORT has it
}

// NewDevice returns a device that lives in memory only: with the same seed it
// is the same device. Its CPUSVN is that of a new device, its owner epoch is
// zero.
func NewDevice(seed [SeedSize]byte) *Device {
	return newDevice(&deviceFile{seed: seed, cpuSVN: currentCPUSVN})
}

// currentCPUSVN is the CPUSVN of new devices. A later rule of derivation that
// closes a hole gets a higher one; old keys stay reachable with the old.
var currentCPUSVN = [16]byte{1}

func newDevice(f *deviceFile) *Device {
	s := new(deviceSecrets)
	expand(&f.seed, "eos software sgx: root key", s.rootKey[:])
	expand(&f.seed, "eos software sgx: seal fuses", s.sealFuses[:])
	expand(&f.seed, "eos software sgx: report key id", s.reportKeyID[:])
	return &Device{cpuSVN: f.cpuSVN, ownerEpoch: f.ownerEpoch, secrets: func() *deviceSecrets { return s }}
}

// CPUSVN returns the device's security version.
func (d *Device) CPUSVN() [16]byte { return d.cpuSVN }

// Format prints the device without its secrets, whatever the verb.
func (d Device) Format(w fmt.State, _ rune) {
	_, _ = io.WriteString(w, fmt.Sprintf("software SGX device, CPUSVN %x", d.cpuSVN))
}
