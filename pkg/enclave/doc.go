// Package enclave is for Go code that runs inside an enclave: who am I, reports
// for local attestation, keys, and sealing, by which an enclave keeps secrets in
// storage that it does not trust. The program is an ordinary one, built with
// `eos build`:
//
//	blob, err := enclave.Seal(sgx.PolicyMREnclave, secret, []byte("api key"))
//	if errors.Is(err, enclave.ErrNotEnclave) {
//		log.Fatal("run me with eos: outside an enclave there is no place for secrets")
//	}
//
// The same program also runs as an ordinary process. There Inside returns false
// and all other functions return ErrNotEnclave; none falls back to something
// weaker. Inside proves nothing to anybody else, since who runs a process can make
// it believe what they like: what proves is a Report.
//
// # Sealing
//
// Seal encrypts for an identity, and there is no default for whose:
//
//   - sgx.PolicyMREnclave: the very same image. Another build of the program cannot
//     open the blob, nor can the next release.
//   - sgx.PolicyMRSigner: images of the same signer with the same ISVPRODID, whose
//     ISVSVN is not lower. So whoever has the signing key can make an image that
//     opens the blob, and everybody has our public debug key.
//
// In enclaves with ATTRIBUTES.KSS a policy may have the bits of sgx.PolicyKSS, too. The
// host chooses CONFIGID: if it matters to the program, add sgx.PolicyConfigID.
//
// A debug enclave does not open what a production enclave has sealed, and a blob
// is of use on the machine where it was made alone. A host can withhold a blob, or
// give an old one in place of the newest: bind what tells them apart, such as a
// name and a counter that is kept elsewhere, by the additional data.
//
// The encryption is AES-256-GCM. Its key is HKDF-SHA256 of the processor's 128-bit
// seal key, and so has the strength of 128 bits; it is another one for each blob, as
// KEYID is random. ParseBlob tells the layout of a blob.
//
// # Payload
//
// An image can be built before all of what it is to run is there. What is appended
// to it later is measured as the program is, and Payload returns it.
//
// # Doorbells
//
// Host and enclave talk through rings, and ring for each other where the other one
// sleeps. Mostly a program need not know: package net, os.Stdout and the calls of
// pkg/runtime/rpc lie on top, and each of their writes is published, and rung for,
// before it returns. A program with many messages for its host at once opens the
// Channel itself:
//
//	c, err := enclave.OpenChannel()
//	...
//	var batch []byte
//	for i, item := range items {
//		batch = wire.AppendRequest(batch, wire.Request{ID: uint64(i)<<8 | wire.IDProgram, Method: method, Payload: item})
//	}
//	err = c.Ring(batch)            // all are published, then the host is rung, once
//	...
//	b, err := c.Wait(ctx, buf)     // the next response: sleeps until the host rings
//	r, fault := wire.ParseResponse(b)
//
// Ring leaves the enclave at most once for a batch that there is room for, and not at
// all if the host is at work on the ring. Wait does not leave it if a response is there
// already; a goroutine that waits costs no thread. The host may ring for nothing, in
// any order, or never: a ring tells that there may be something, never what. Responses
// come in any order, and each has the id of its request. Which methods there are is
// the host's choice: those of its goenclave.Options.Handle, and wire.StatusUnsupported
// for all others.
package enclave
