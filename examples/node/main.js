// Sends one envelope, and waits for the block that contains it.
//
//     npm ci --ignore-scripts && node main.js ADDRESS TLS_CA CHANNEL TEXT
//
// Signs as the identity that CORE_PEER_MSPCONFIGPATH and CORE_PEER_LOCALMSPID name, as Fabric's `peer` does.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const { signers } = require('@hyperledger/fabric-gateway');
const { common, msp, orderer } = require('@hyperledger/fabric-protos');
const { Timestamp } = require('google-protobuf/google/protobuf/timestamp_pb');

const [address, authority, channel, text] = process.argv.slice(2);
const onlyFile = (name) => {
  const folder = path.join(process.env.CORE_PEER_MSPCONFIGPATH, name);
  return fs.readFileSync(path.join(folder, fs.readdirSync(folder)[0]));
};
const sha256 = (...parts) => crypto.createHash('sha256').update(Buffer.concat(parts)).digest();
// a signature as Fabric wants it: ECDSA with the smaller of the two valid values of s
const sign = signers.newPrivateKeySigner(crypto.createPrivateKey(onlyFile('keystore')));

const identity = new msp.SerializedIdentity();
identity.setMspid(process.env.CORE_PEER_LOCALMSPID);
identity.setIdBytes(onlyFile('signcerts'));
const creator = Buffer.from(identity.serializeBinary());

async function signed(type, data) {
  const nonce = crypto.randomBytes(24);
  const channelHeader = new common.ChannelHeader();
  channelHeader.setType(type);
  channelHeader.setChannelId(channel);
  channelHeader.setTxId(sha256(nonce, creator).toString('hex'));
  channelHeader.setTimestamp(Timestamp.fromDate(new Date()));
  const signatureHeader = new common.SignatureHeader();
  signatureHeader.setCreator(creator);
  signatureHeader.setNonce(nonce);
  const header = new common.Header();
  header.setChannelHeader(channelHeader.serializeBinary());
  header.setSignatureHeader(signatureHeader.serializeBinary());
  const payload = new common.Payload();
  payload.setHeader(header);
  payload.setData(data);
  const bytes = Buffer.from(payload.serializeBinary());
  const envelope = new common.Envelope();
  envelope.setPayload(bytes);
  envelope.setSignature(await sign(sha256(bytes)));
  return { id: channelHeader.getTxId(), envelope };
}

// from the newest block on, without end
function seekNewest() {
  const newest = new orderer.SeekPosition();
  newest.setNewest(new orderer.SeekNewest());
  const last = new orderer.SeekSpecified();
  last.setNumber(Number.MAX_SAFE_INTEGER);
  const stop = new orderer.SeekPosition();
  stop.setSpecified(last);
  const seek = new orderer.SeekInfo();
  seek.setStart(newest);
  seek.setStop(stop);
  seek.setBehavior(orderer.SeekInfo.SeekBehavior.BLOCK_UNTIL_READY);
  return seek.serializeBinary();
}

function idsIn(block) {
  return block.getData().getDataList_asU8().map((bytes) => {
    const payload = common.Payload.deserializeBinary(common.Envelope.deserializeBinary(bytes).getPayload_asU8());
    return common.ChannelHeader.deserializeBinary(payload.getHeader().getChannelHeader_asU8()).getTxId();
  });
}

async function main() {
  const client = new orderer.AtomicBroadcastClient(address, grpc.credentials.createSsl(fs.readFileSync(authority)));

  // subscribe before sending, so that no block is missed
  const blocks = client.deliver();
  blocks.write((await signed(common.HeaderType.DELIVER_SEEK_INFO, seekNewest())).envelope);
  const responses = client.broadcast();
  const { id, envelope } = await signed(common.HeaderType.ENDORSER_TRANSACTION, Buffer.from(text));

  await new Promise((resolve, reject) => {
    blocks.on('error', reject);
    responses.on('error', reject);
    // the first block shows that the subscription has begun
    blocks.once('data', () => responses.write(envelope));
    responses.on('data', (response) => {
      if (response.getStatus() === common.Status.SUCCESS) console.log(`acknowledged ${id}`);
      else reject(new Error(`${response.getStatus()}: ${response.getInfo()}`));
    });
    blocks.on('data', (message) => {
      if (!message.hasBlock()) {
        reject(new Error(`Deliver ended with status ${message.getStatus()}`));
      } else if (idsIn(message.getBlock()).includes(id)) {
        console.log(`block ${message.getBlock().getHeader().getNumber()} contains it`);
        resolve();
      }
    });
  });
  // streams that stay open would keep the process running
  blocks.cancel();
  responses.end();
  client.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
