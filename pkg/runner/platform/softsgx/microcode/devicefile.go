package microcode

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/keyfile"
)

// DeviceFile is the name of the device's file in its directory. Other files
// there are left alone.
const DeviceFile = "device.key"

// deviceFileSize is the size of the device's file in bytes.
const deviceFileSize = 128

var deviceMagic = [16]byte{'e', 'o', 's', ' ', 's', 'g', 'x', ' ', 'd', 'e', 'v', 'i', 'c', 'e', '\n'}

const deviceVersion = 1

// deviceFile is the content of the device's file:
//
//	0  16  "eos sgx device\n\0"
//	16  4  version, 1
//	20 12  zero
//	32 32  seed
//	64 16  CPUSVN
//	80 16  SGXOWNEREPOCH
//	96 32  SHA-256 of bytes 0..95, against damage
type deviceFile struct {
	seed       [SeedSize]byte
	cpuSVN     [16]byte
	ownerEpoch [16]byte
}

func (f *deviceFile) bytes() (b [deviceFileSize]byte) {
	copy(b[:], deviceMagic[:])
	le.PutUint32(b[16:], deviceVersion)
	copy(b[32:], f.seed[:])
	copy(b[64:], f.cpuSVN[:])
	copy(b[80:], f.ownerEpoch[:])
	sum := sha256.Sum256(b[:96])
	copy(b[96:], sum[:])
	return b
}

// parseDeviceFile reads exactly deviceFileSize bytes. Its errors hold nothing
// of the content but the version.
func parseDeviceFile(b []byte) (*deviceFile, error) {
	if !bytes.HasPrefix(b, deviceMagic[:]) {
		return nil, errors.New("not a device key")
	}
	if len(b) < 20 {
		return nil, errors.New("cut off")
	}
	if v := le.Uint32(b[16:]); v != deviceVersion {
		return nil, fmt.Errorf("version %d, this program knows version %d", v, deviceVersion)
	}
	if len(b) != deviceFileSize {
		return nil, fmt.Errorf("%d bytes, want %d", len(b), deviceFileSize)
	}
	if sum := sha256.Sum256(b[:96]); !bytes.Equal(sum[:], b[96:]) {
		return nil, errors.New("checksum does not match")
	}
	if !bytes.Equal(b[20:32], make([]byte, 12)) {
		return nil, errors.New("reserved bytes are not zero")
	}
	f := &deviceFile{seed: [SeedSize]byte(b[32:64]), cpuSVN: [16]byte(b[64:80]), ownerEpoch: [16]byte(b[80:96])}
	if f.seed == [SeedSize]byte{} {
		return nil, errors.New("seed is zero")
	}
	if beyond(f.cpuSVN, currentCPUSVN) {
		return nil, fmt.Errorf("CPUSVN %x, this program knows up to %x", f.cpuSVN, currentCPUSVN)
	}
	return f, nil
}

// OpenDevice opens the device whose file is in dir. On first use it makes dir
// (mode 0700) and the file (0600) with a random seed. A file that is there is
// never written to. Of several processes that come first at the same time one
// makes the device and all get the same.
//
// It refuses a file that others may read or write, a directory in which they
// may replace it, and a file that is damaged: with another seed every sealed
// secret would be lost, so that only the user can decide.
func OpenDevice(dir string) (*Device, error) {
	if dir == "" {
		return nil, errors.New("device key: no directory given")
	}
	path := filepath.Join(dir, DeviceFile)
	f, err := readDeviceFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDeviceFile(path); err != nil {
			return nil, fmt.Errorf("device key: %w", err)
		}
		f, err = readDeviceFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	return newDevice(f), nil
}

// readDeviceFile reads the file at path.
func readDeviceFile(path string) (*deviceFile, error) {
	b, err := keyfile.Read(path, deviceFileSize)
	if err != nil {
		return nil, err
	}
	f, err := parseDeviceFile(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a backup, or move it away to begin with a new device "+
			"(what was sealed with the old one is then lost)", path, err)
	}
	return f, nil
}

// makeDeviceFile makes the file at path unless somebody else makes it first.
func makeDeviceFile(path string) error {
	f := &deviceFile{cpuSVN: currentCPUSVN}
	_, _ = rand.Read(f.seed[:]) // never fails
	b := f.bytes()
	return keyfile.Make(path, b[:])
}
