// The tabs of the playground beside the chat.
import { Embeddings } from "./embeddings";
import { Images } from "./images";
import { LoadTest } from "./loadtest";
import { Rerank } from "./rerank";
import { Speech } from "./speech";
import { Transcription } from "./transcription";

export const TOOLS = { images: Images, speech: Speech, transcription: Transcription, rerank: Rerank, embeddings: Embeddings, load: LoadTest };
