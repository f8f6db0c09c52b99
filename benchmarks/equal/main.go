// The contract of benchmarks/_contract.py on the Go shim: the same reads, writes and checks.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hyperledger/fabric-chaincode-go/v2/pkg/cid"
	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

const common = 9

type asset struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

type args struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

type contract struct{}

func (contract) Init(shim.ChaincodeStubInterface) *peer.Response {
	return shim.Success(nil)
}

func (contract) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	roles, _, err := cid.GetAttributeValue(stub, "medfabric.roles")
	if err != nil || !strings.Contains(","+roles+",", ",admin,") {
		return shim.Error("an admin's certificate is needed")
	}
	given := stub.GetArgs()
	if len(given) != 2 {
		return shim.Error("a name and one JSON argument are needed")
	}
	var parsed args
	if err := json.Unmarshal(given[1], &parsed); err != nil {
		return shim.Error(err.Error())
	}
	var result asset
	switch string(given[0]) {
	case "bench:Read":
		result, err = read(stub, parsed.Name)
	case "bench:Write":
		result, err = write(stub, parsed.Name, parsed.Text)
	case "bench:WriteMany":
		result, err = writeMany(stub, parsed)
	case "bench:Update":
		result, err = update(stub, parsed)
	default:
		err = fmt.Errorf("no such transaction")
	}
	if err != nil {
		return shim.Error(err.Error())
	}
	payload, err := json.Marshal(result)
	if err != nil {
		return shim.Error(err.Error())
	}
	return shim.Success(payload)
}

func read(stub shim.ChaincodeStubInterface, name string) (asset, error) {
	key, err := stub.CreateCompositeKey("asset", []string{name})
	if err != nil {
		return asset{}, err
	}
	raw, err := stub.GetState(key)
	if err != nil {
		return asset{}, err
	}
	var found asset
	if raw != nil {
		err = json.Unmarshal(raw, &found)
	}
	return found, err
}

func write(stub shim.ChaincodeStubInterface, name, text string) (asset, error) {
	key, err := stub.CreateCompositeKey("asset", []string{name})
	if err != nil {
		return asset{}, err
	}
	written := asset{Name: name, Text: text}
	raw, err := json.Marshal(written)
	if err != nil {
		return asset{}, err
	}
	return written, stub.PutState(key, raw)
}

func writeMany(stub shim.ChaincodeStubInterface, given args) (asset, error) {
	stub.StartWriteBatch()
	var last asset
	for number := range 100 {
		written, err := write(stub, fmt.Sprintf("%s-%d", given.Name, number), given.Text)
		if err != nil {
			return asset{}, err
		}
		last = written
	}
	return last, stub.FinishWriteBatch()
}

// The reads and writes of a node's update: 3 and 6 keys, a key's policy; 6 writes.
func update(stub shim.ChaincodeStubInterface, given args) (asset, error) {
	for _, numbers := range [][2]int{{0, 3}, {3, common}} {
		if err := readTogether(stub, numbers[0], numbers[1]); err != nil {
			return asset{}, err
		}
	}
	key, err := stub.CreateCompositeKey("asset", []string{given.Name + "-account"})
	if err != nil {
		return asset{}, err
	}
	if _, err := stub.GetStateValidationParameter(key); err != nil {
		return asset{}, err
	}
	stub.StartWriteBatch()
	for _, part := range []string{"account", "act", "edge-1", "edge-2", "written"} {
		text := ""
		if part == "account" {
			text = given.Text
		}
		if _, err := write(stub, given.Name+"-"+part, text); err != nil {
			return asset{}, err
		}
	}
	written, err := write(stub, given.Name, given.Text)
	if err != nil {
		return asset{}, err
	}
	if err := stub.FinishWriteBatch(); err != nil {
		return asset{}, err
	}
	return written, stub.SetEvent("update", []byte(`{"name":"`+given.Name+`"}`))
}

func readTogether(stub shim.ChaincodeStubInterface, first, end int) error {
	var keys []string
	for number := first; number < end; number++ {
		key, err := stub.CreateCompositeKey("asset", []string{fmt.Sprintf("common-%d", number)})
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	values, err := stub.GetMultipleStates(keys...)
	if err != nil {
		return err
	}
	for _, raw := range values {
		var found asset
		if err := json.Unmarshal(raw, &found); err != nil {
			return err
		}
	}
	return nil
}

type config struct {
	Address      string `json:"address"`
	PackageID    string `json:"package_id"`
	TLSCertFile  string `json:"tls_cert_file"`
	TLSKeyFile   string `json:"tls_key_file"`
	ClientCAFile string `json:"client_ca_file"`
}

func main() {
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var set config
	if err := json.Unmarshal(raw, &set); err != nil {
		return err
	}
	var files [3][]byte
	for number, name := range []string{set.TLSKeyFile, set.TLSCertFile, set.ClientCAFile} {
		if files[number], err = os.ReadFile(filepath.Join(filepath.Dir(path), name)); err != nil {
			return err
		}
	}
	server := shim.ChaincodeServer{
		CCID:     set.PackageID,
		Address:  set.Address,
		CC:       contract{},
		TLSProps: shim.TLSProperties{Key: files[0], Cert: files[1], ClientCACerts: files[2]},
	}
	return server.Start()
}
