// Package sgx holds the architectural structures of Intel SGX: what the
// processor reads and writes, and nothing else. It does no I/O and imports
// nothing of this module.
//
// Every structure is a Go value with named fields, a Size constant, a strict
// Parse function (the whole input, reserved bytes zero) and an AppendBinary
// method that is its inverse. The doc comment of each type is its byte table.
// All numbers are little-endian. "SDM" is the Intel 64 and IA-32
// Architectures Software Developer's Manual, volume 3D; section numbers are
// those of the chapter "Enclave Data Structures and Operations".
package sgx
