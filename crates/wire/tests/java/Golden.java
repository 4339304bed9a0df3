import java.nio.ByteBuffer;
import java.util.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.*;
import org.apache.kafka.common.protocol.types.*;
import org.apache.kafka.common.record.MemoryRecords;

/**
 * Prints a random message of each kind, API and version, as Apache Kafka's own classes write it.
 *
 * java -cp kafka-clients-4.1.0.jar:slf4j-api-1.7.36.jar Golden.java 0:3-13 1:4-18 ... > kafka-4.1.0.txt
 * with "key:first-last" for each API.
 */
public class Golden {
    static final Random random = new Random(41);

    public static void main(String[] apis) {
        for (String api : apis) {
            String[] parts = api.split("[:-]");
            short key = Short.parseShort(parts[0]);
            ApiMessageType type = ApiMessageType.fromApiKey(key);
            for (short v = Short.parseShort(parts[1]); v <= Short.parseShort(parts[2]); v++) {
                print("request", key, v, type.newRequest(), type.requestSchemas()[v]);
                print("response", key, v, type.newResponse(), type.responseSchemas()[v]);
            }
        }
    }

    static void print(String kind, short key, short version, ApiMessage message, Schema schema) {
        Struct struct = (Struct) value(schema);
        ByteBuffer bytes = ByteBuffer.allocate(schema.sizeOf(struct));
        schema.write(bytes, struct);
        bytes.flip();
        try {
            message.read(new ByteBufferAccessor(bytes), version);
        } catch (RuntimeException e) {
            // A schema knows nothing of the byte before a struct that may be null: then the
            // message stays as its constructor left it.
            message = kind.equals("request")
                ? ApiMessageType.fromApiKey(key).newRequest()
                : ApiMessageType.fromApiKey(key).newResponse();
        }
        // Written again, so that tagged fields with their defaults are left out.
        ByteBuffer out = MessageUtil.toByteBufferAccessor(message, version).buffer();
        StringBuilder hex = new StringBuilder();
        while (out.hasRemaining()) hex.append(String.format("%02x", out.get()));
        System.out.println(kind + " " + key + " " + version + " " + hex);
    }

    static Object value(Type type) {
        if (type.isNullable() && random.nextInt(4) == 0) return null;
        if (type instanceof TaggedFields) {
            NavigableMap<Integer, Object> tags = new TreeMap<>();
            ((TaggedFields) type).fields().forEach((tag, field) -> {
                Object value = value(field.type);
                if (value != null) tags.put(tag, value);
            });
            return tags;
        }
        if (type.arrayElementType().isPresent()) {
            Object[] elements = new Object[1 + random.nextInt(2)];
            for (int i = 0; i < elements.length; i++) elements[i] = value(type.arrayElementType().get());
            return elements;
        }
        if (type instanceof Schema) {
            Struct struct = new Struct((Schema) type);
            for (BoundField field : ((Schema) type).fields()) struct.set(field, value(field.def.type));
            return struct;
        }
        return simple(type);
    }

    static Object simple(Type type) {
        String name = type.toString();
        if (name.endsWith("STRING")) return "t" + random.nextInt(1000);
        if (name.endsWith("BYTES")) return ByteBuffer.wrap(new byte[] {1, 2, (byte) random.nextInt()});
        if (name.endsWith("RECORDS")) return MemoryRecords.readableRecords(ByteBuffer.wrap(new byte[] {3, 4}));
        switch (name) {
            case "BOOLEAN": return random.nextBoolean();
            case "INT8": return (byte) random.nextInt();
            case "INT16": return (short) random.nextInt();
            case "INT32": return random.nextInt();
            case "INT64": return random.nextLong();
            case "FLOAT64": return (double) random.nextInt(1000);
            case "UUID": return new Uuid(random.nextLong(), random.nextLong());
            default: throw new IllegalArgumentException(name);
        }
    }
}
