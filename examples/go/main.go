// Sends one envelope, and waits for the block that contains it.
//
//	go run . ADDRESS TLS_CA CHANNEL TEXT
//
// Signs as the identity that CORE_PEER_MSPCONFIGPATH and CORE_PEER_LOCALMSPID name, as Fabric's peer does.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 {
		log.Fatal("expected ADDRESS TLS_CA CHANNEL TEXT")
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}

func run(address, authority, channel, text string) error {
	signer, err := newSigner(os.Getenv("CORE_PEER_MSPCONFIGPATH"), os.Getenv("CORE_PEER_LOCALMSPID"))
	if err != nil {
		return err
	}
	tls, err := credentials.NewClientTLSFromFile(authority, "")
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(tls))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := orderer.NewAtomicBroadcastClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	// subscribe before sending, from the newest block on, so that no block is missed
	blocks, err := client.Deliver(ctx)
	if err != nil {
		return err
	}
	seek := &orderer.SeekInfo{
		Start: &orderer.SeekPosition{Type: &orderer.SeekPosition_Newest{Newest: &orderer.SeekNewest{}}},
		Stop: &orderer.SeekPosition{
			Type: &orderer.SeekPosition_Specified{Specified: &orderer.SeekSpecified{Number: math.MaxUint64}},
		},
		Behavior: orderer.SeekInfo_BLOCK_UNTIL_READY,
	}
	_, request, err := signer.envelope(common.HeaderType_DELIVER_SEEK_INFO, channel, must(proto.Marshal(seek)))
	if err != nil {
		return err
	}
	if err := blocks.Send(request); err != nil {
		return err
	}
	message, err := blocks.Recv()

	id, envelope, failed := signer.envelope(common.HeaderType_ENDORSER_TRANSACTION, channel, []byte(text))
	if failed != nil {
		return failed
	}
	if failed := send(ctx, client, envelope); failed != nil {
		return failed
	}
	fmt.Println("acknowledged", id)

	for ; err == nil; message, err = blocks.Recv() {
		block := message.GetBlock()
		if block == nil {
			return fmt.Errorf("Deliver ended with status %v", message.GetStatus())
		}
		if contains(block, id) {
			fmt.Printf("block %d contains it\n", block.Header.Number)
			return nil
		}
	}
	return err
}

func send(ctx context.Context, client orderer.AtomicBroadcastClient, envelope *common.Envelope) error {
	responses, err := client.Broadcast(ctx)
	if err != nil {
		return err
	}
	if err := responses.Send(envelope); err != nil {
		return err
	}
	response, err := responses.Recv()
	if err != nil {
		return err
	}
	if response.Status != common.Status_SUCCESS {
		return fmt.Errorf("%v: %s", response.Status, response.Info)
	}
	return nil
}

func contains(block *common.Block, id string) bool {
	for _, data := range block.Data.Data {
		var envelope common.Envelope
		var payload common.Payload
		var header common.ChannelHeader
		if proto.Unmarshal(data, &envelope) == nil && proto.Unmarshal(envelope.Payload, &payload) == nil &&
			proto.Unmarshal(payload.GetHeader().GetChannelHeader(), &header) == nil && header.TxId == id {
			return true
		}
	}
	return false
}

type signer struct {
	creator []byte
	key     *ecdsa.PrivateKey
}

func newSigner(folder, id string) (*signer, error) {
	certificate, err := onlyFile(filepath.Join(folder, "signcerts"))
	if err != nil {
		return nil, err
	}
	text, err := onlyFile(filepath.Join(folder, "keystore"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("the file in %s/keystore is not PEM", folder)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ecdsaKey, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key in %s/keystore is not an ECDSA key", folder)
	}
	creator := must(proto.Marshal(&msp.SerializedIdentity{Mspid: id, IdBytes: certificate}))
	return &signer{creator: creator, key: ecdsaKey}, nil
}

// envelope returns a signed message and its transaction ID.
func (s *signer) envelope(kind common.HeaderType, channel string, data []byte) (string, *common.Envelope, error) {
	nonce := make([]byte, 24)
	rand.Read(nonce)
	hash := sha256.Sum256(append(append([]byte{}, nonce...), s.creator...))
	id := hex.EncodeToString(hash[:])
	payload := must(proto.Marshal(&common.Payload{
		Header: &common.Header{
			ChannelHeader: must(proto.Marshal(&common.ChannelHeader{
				Type: int32(kind), ChannelId: channel, TxId: id, Timestamp: timestamppb.Now(),
			})),
			SignatureHeader: must(proto.Marshal(&common.SignatureHeader{Creator: s.creator, Nonce: nonce})),
		},
		Data: data,
	}))
	signature, err := s.sign(payload)
	return id, &common.Envelope{Payload: payload, Signature: signature}, err
}

// sign returns a signature as Fabric wants it: ECDSA with the smaller of the two valid values of s.
func (s *signer) sign(message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	var signature struct{ R, S *big.Int }
	var err error
	if signature.R, signature.S, err = ecdsa.Sign(rand.Reader, s.key, digest[:]); err != nil {
		return nil, err
	}
	order := s.key.Params().N
	if signature.S.Cmp(new(big.Int).Rsh(order, 1)) > 0 {
		signature.S.Sub(order, signature.S)
	}
	return asn1.Marshal(signature)
}

func onlyFile(folder string) ([]byte, error) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s is empty", folder)
	}
	return os.ReadFile(filepath.Join(folder, files[0].Name()))
}

// must returns the bytes of a message; only a message that is not valid UTF-8 cannot be marshalled.
func must(bytes []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return bytes
}
